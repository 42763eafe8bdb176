/* A daemon with durable state that may choose its port takes the one it had: others find it again where it was, though it was killed and
 * nobody told them. The address is in DATA/address; without it, or when the port is taken, any port serves. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rpc/daemon_int.h"

static bool any_port(const char *addr)
{
	size_t len = addr ? strlen(addr) : 0;
	return len > 6 && (!strncmp(addr, "tcp:", 4) || !strncmp(addr, "ucx:", 4)) && !strcmp(addr + len - 2, ":0");
}

static bool path_in(const char *dir, const char *file, char *path, size_t room)
{
	return dir && snprintf(path, room, "%s/%s", dir, file) < (int)room;
}

const char *same_addr_before(const struct daemon_opts *o)
{
	static char addr[WIRE_ADDR_MAX];
	char path[2048];
	if (!any_port(o->listen[0]) || !path_in(o->data, "address", path, sizeof(path)))
		return NULL;
	FILE *f = fopen(path, "re");
	size_t host = strlen(o->listen[0]) - 1; /* with its colon */
	bool got = f && fgets(addr, sizeof(addr), f);
	if (f)
		fclose(f);
	addr[strcspn(addr, "\n")] = 0;
	return got && !strncmp(addr, o->listen[0], host) && strspn(addr + host, "0123456789") == strlen(addr + host) && addr[host] ? addr : NULL;
}

void same_addr_keep(const struct daemon_opts *o, const char *addr)
{
	char path[2048], fresh[2048];
	if (!any_port(o->listen[0]) || !path_in(o->data, "address", path, sizeof(path)) || !path_in(o->data, "address.new", fresh, sizeof(fresh)))
		return;
	FILE *f = fopen(fresh, "we");
	bool ok = f && fprintf(f, "%s\n", addr) > 0;
	if (f && fclose(f))
		ok = false;
	if (!ok || rename(fresh, path))
		(void)unlink(fresh);
}
