#include "storage_node.h"

#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "storage/sd.h"

const u8 storage_node_key[32] = "the key of a cluster of tests..";

static struct {
	struct host_driver *driver;
	struct sd *sd;
	pthread_t thread;
	char dir[32], addr[WIRE_ADDR_MAX];
} node;

static void *run(void *arg)
{
	host_driver_run(node.driver, &sd_ops, node.sd);
	return NULL;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *f)
{
	return remove(path);
}

static void end(void)
{
	storage_node_stop();
	nftw(node.dir, remove_one, 32, FTW_DEPTH | FTW_PHYS);
}

static void make_dir(void)
{
	strcpy(node.dir, access("/dev/shm", W_OK) ? "/tmp/lego-sd-XXXXXX" : "/dev/shm/lego-sd-XXXXXX");
	if (!mkdtemp(node.dir))
		abort();
	snprintf(node.addr, sizeof(node.addr), "unix:%s/s", node.dir);
	atexit(end);
}

const char *storage_node_start(void)
{
	struct host_driver_config cfg = {.name = "s0", .kind = KIND_STORAGE, .incarnation = 1, .log_level = LOG_ERROR};
	char err[256], data[64];

	if (node.driver)
		return node.addr;
	if (!*node.dir)
		make_dir();
	memcpy(cfg.key, storage_node_key, sizeof(cfg.key));
	cfg.listen[0] = node.addr;
	snprintf(data, sizeof(data), "%s/data", node.dir);
	node.driver = host_driver_new(&cfg, err, sizeof(err));
	struct sd_config sd = {.data_dir = data, .name = "s0", .addr = node.addr, .incarnation = 1};

	node.sd = node.driver ? sd_new(host_driver_env(node.driver), &sd, err, sizeof(err)) : NULL;
	if (!node.sd || pthread_create(&node.thread, NULL, run, NULL)) {
		fprintf(stderr, "no storage node: %s\n", err);
		abort();
	}
	return node.addr;
}

void storage_node_stop(void)
{
	if (!node.driver)
		return;
	host_driver_stop(node.driver);
	pthread_join(node.thread, NULL);
	sd_free(node.sd);
	host_driver_free(node.driver);
	node.driver = NULL;
}

const char *storage_node_dir(void)
{
	return node.dir;
}
