/* Clusters over many hosts, as lego.conf describes them. LEGO_CONF names the file; without it and without LEGO_HOME it is /etc/lego/lego.conf.
 * What such a cluster has on this host lies in its run directory: sockets and logs of the nodes here. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cluster.h"
#include "rpc/gm_link.h"
#include "rpc/key.h"

const char *cluster_conf_path(void)
{
	const char *path = getenv("LEGO_CONF"), *home = getenv("LEGO_HOME");
	if (path)
		return *path ? path : NULL;
	return home && *home ? NULL : CONF_DEFAULT_PATH;
}

struct conf *cluster_conf_read(const char *path)
{
	char err[1024];
	struct conf *conf = conf_read(path, err, sizeof(err));
	if (!conf)
		cli_error("%s", err);
	return conf;
}

bool cluster_set_managers(struct cluster *c, const char *list)
{
	char addr[WIRE_ADDR_MAX];
	for (c->ncomp = 0; c->ncomp < ARRAY_SIZE(c->comp) && gm_addr_at(list, c->ncomp, addr); c->ncomp++) {
		struct cluster_component *k = &c->comp[c->ncomp];
		if (strncmp(addr, "tcp:", 4) && strncmp(addr, "unix:/", 6))
			return false;
		memset(k, 0, sizeof(*k));
		k->kind = KIND_MANAGER;
		memcpy(k->addr, addr, sizeof(k->addr));
		snprintf(k->name, sizeof(k->name), "gm%u", c->ncomp);
	}
	return c->ncomp;
}

static int take(const struct conf *conf, struct cluster *c)
{
	char err[512];
	const char *run = conf_cluster(conf, "run"), *gm = conf_cluster(conf, "manager");
	memset(c, 0, sizeof(*c));
	c->life_fd = -1;
	c->from_conf = true;
	snprintf(c->name, sizeof(c->name), "%s", conf_cluster(conf, "name"));
	snprintf(c->dir, sizeof(c->dir), "%s", run);
	(void)cluster_set_managers(c, gm);
	if (!key_file_read(conf_cluster(conf, "key"), c->key, err, sizeof(err)))
		return 0;
	cli_error("%s", err);
	return -EINVAL;
}

int cluster_from_conf(const char *name, struct cluster *c)
{
	const char *path = cluster_conf_path();
	if (!path || (!getenv("LEGO_CONF") && access(path, F_OK)))
		return -ENOENT;
	struct conf *conf = cluster_conf_read(path);
	if (!conf)
		return -EINVAL;
	/* "default" is what commands ask for when they are told nothing */
	bool meant = !name || !strcmp(name, CLI_DEFAULT_CLUSTER) || !strcmp(name, conf_cluster(conf, "name"));
	int rc = meant ? take(conf, c) : -ENOENT;
	conf_free(conf);
	return rc;
}

bool cluster_socket_here(const struct cluster *c, const char *name, char addr[WIRE_ADDR_MAX])
{
	if (snprintf(addr, WIRE_ADDR_MAX, "unix:%s/%s.sock", c->dir, name) >= (int)WIRE_ADDR_MAX)
		return false;
	return !access(addr + strlen("unix:"), F_OK);
}
