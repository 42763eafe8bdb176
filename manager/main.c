/* `lego gm`: options, the data directory with its lock and database, and the driver under the logic. */
#include "manager/elect.h"
#include "manager/gm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rpc/daemon.h"

static bool set_ms(u32 *to, const char *text, u32 min, u32 max)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);
	if (end == text || *end || n < min || n > max)
		return false;
	*to = (u32)n;
	return true;
}

static bool set_beat(void *self, const char *text)
{
	return set_ms(&((struct gm_config *)self)->beat_ms, text, 10, 60000);
}

static bool set_lease(void *self, const char *text)
{
	return set_ms(&((struct gm_config *)self)->lease_ms, text, 30, 600000);
}

static bool set_gpm(void *self, const char *text)
{
	return place_policy_parse(text, &((struct gm_config *)self)->gpm);
}

static bool set_gmm(void *self, const char *text)
{
	return place_policy_parse(text, &((struct gm_config *)self)->gmm);
}

static bool set_gsm(void *self, const char *text)
{
	return place_policy_parse(text, &((struct gm_config *)self)->gsm);
}

static bool set_region(void *self, const char *text)
{
	u64 *bytes = &((struct gm_config *)self)->region_bytes;
	return daemon_parse_size(text, bytes) && *bytes >= REGION_MIN && !(*bytes & (*bytes - 1)) && *bytes <= 64 * GIB;
}

static bool set_near(void *self, const char *text)
{
	struct gm_config *cfg = self;
	cfg->spread = !strcmp(text, "0");
	return cfg->spread || daemon_parse_size(text, &cfg->near_bytes);
}

static bool set_replicas(void *self, const char *text)
{
	((struct gm_config *)self)->replicas = !strcmp(text, "1");
	return !strcmp(text, "0") || !strcmp(text, "1");
}

static bool set_overcommit(void *self, const char *text)
{
	struct gm_config *cfg = self;
	cfg->overcommit = 0;
	return !strcmp(text, "0") || set_ms(&cfg->overcommit, text, 1, 100000);
}

static bool set_above(void *self, const char *text)
{
	u32 percent;
	if (!daemon_parse_percent(text, &percent) || percent < 1 || percent > 99)
		return false;
	((struct gm_config *)self)->rebalance_above = percent;
	return true;
}

static bool set_rate(void *self, const char *text)
{
	u64 *rate = &((struct gm_config *)self)->rebalance_rate;
	return daemon_parse_size(text, rate) && *rate >= MIB;
}

static const char *store_url; /* --store; NULL: SQLite in --data */

static bool set_store(void *self, const char *text)
{
	store_url = strcmp(text, "sqlite") ? text : NULL;
	return !store_url || !strncmp(text, "etcd://", 7);
}

static bool set_fresh(void *self, const char *text)
{
	((struct gm_config *)self)->fresh = true;
	return true;
}

static const struct daemon_option own_options[] = {
	{"--beat-ms", "N", "how often components beat (default 1000)", set_beat},
	{"--lease-ms", "N", "silence after which a component is down (default 3000)", set_lease},
	{"--store", "WHERE", "of the state: sqlite (default: in --data) or etcd://HOST:PORT[,HOST:PORT...][/NAME], for several managers of which one leads", set_store},
	{"--fresh", NULL, "forget the components known before: none of them runs any more", set_fresh},
	{"--gpm", "POLICY", "placing of programs: most-free (default), round-robin, least-loaded, pack or spread", set_gpm},
	{"--gmm", "POLICY", "placing of their memory: homes, and vRegions elsewhere", set_gmm},
	{"--near", "SIZE", "so much of a process stays at its home while that has room; 0: nothing (default 1G)", set_near},
	{"--region", "SIZE", "of a vRegion, a power of two from 2M (default: a sixteenth of the smallest memory node, at most 1G)", set_region},
	{"--replicas", "K", "second copies of the memory of every program: 0 (default) or 1", set_replicas},
	{"--gsm", "POLICY", "placing of new vNodes", set_gsm},
	{"--rebalance-above", "PERCENT", "of a memory node that may be promised before some of it moves to others (default: nothing moves)", set_above},
	{"--rebalance-rate", "SIZE", "moved a second, in all (default 64M)", set_rate},
	{"--overcommit", "N", "processes that may want each core of a processor node before it gets no new program; 0: any number (default)", set_overcommit},
};

static int check(const struct daemon_opts *o, const struct gm_config *cfg)
{
	u32 beat = cfg->beat_ms ? cfg->beat_ms : 1000, lease = cfg->lease_ms ? cfg->lease_ms : 3000;
	if (!o->data && !store_url) {
		fprintf(stderr, "lego gm: --data is required (see lego gm --help)\n");
		return 2;
	}
	if (lease < 2 * beat) {
		fprintf(stderr, "lego gm: a lease of %u ms needs a beat of at most %u ms, not %u\n", lease, lease / 2, beat);
		return 2;
	}
	return DAEMON_GO_ON;
}

/* The store in the locked data directory, or NULL after a message. */
static struct gm_store *open_store(struct daemon *d, const char *dir)
{
	char path[2048], err[512];
	u64 cluster_id;
	daemon_env(d)->random(daemon_env(d)->ctx, &cluster_id, sizeof(cluster_id));
	if (snprintf(path, sizeof(path), "%s/manager.db", dir) >= (int)sizeof(path)) {
		fprintf(stderr, "lego gm: the path of --data is too long\n");
		return NULL;
	}
	struct gm_store *s = gm_store_open(path, cluster_id >> 1, err, sizeof(err));
	if (!s)
		fprintf(stderr, "lego gm: cannot open the state: %s\n", err);
	return s;
}

static int serve(struct daemon *d, struct gm_store *store, struct gm_config *cfg)
{
	char err[256] = "";
	cfg->addr = daemon_addr(d);
	cfg->host_pid = (u32)getpid();
	struct gm *g = gm_new(daemon_env(d), store, cfg, err, sizeof(err));
	if (!g) {
		fprintf(stderr, "lego gm: cannot start: %s\n", err);
		daemon_drop(d);
		return 1;
	}
	daemon_env(d)->log(daemon_env(d)->ctx, LOG_INFO, "term %llu at %s", (unsigned long long)gm_term(g), cfg->addr);
	daemon_ready(d);
	int rc = daemon_run(d, &gm_ops, g);
	gm_free(g);
	daemon_drop(d);
	return rc;
}

/* ---- state in etcd: one of several managers leads */

static void is_known(void *arg)
{
	daemon_ready(arg);
}

static int serve_elected(struct daemon *d, struct gm_config *cfg)
{
	char err[256] = "";
	cfg->addr = daemon_addr(d);
	cfg->host_pid = (u32)getpid();
	struct etcd *e = etcd_new(store_url, err, sizeof(err));
	struct elect *el = e ? elect_new(daemon_env(d), e, cfg, is_known, d) : NULL;
	if (!el) {
		fprintf(stderr, "lego gm: cannot start: %s\n", err);
		daemon_drop(d);
		etcd_free(e);
		return 1;
	}
	int rc = daemon_run(d, &elect_ops, el);
	elect_free(el);
	daemon_drop(d); /* ends the workers, which use e */
	etcd_free(e);
	return rc;
}

static int main_elected(const struct daemon_opts *o, struct gm_config *cfg)
{
	struct daemon *d = daemon_start(o);
	return d ? serve_elected(d, cfg) : 1;
}

int gm_main(int argc, char **argv)
{
	struct daemon_opts o = {.prog = "gm", .about = "The global manager.", .kind = KIND_MANAGER, .name = "gm0"};
	struct gm_config cfg = {.name = o.name};
	int rc = daemon_options(&o, own_options, ARRAY_SIZE(own_options), &cfg, argc, argv);
	if (rc == DAEMON_GO_ON)
		rc = check(&o, &cfg);
	if (rc != DAEMON_GO_ON)
		return rc;
	if (store_url) {
		o.defers = true;
		return main_elected(&o, &cfg);
	}
	int lock = daemon_lock_data("gm", o.data);
	if (lock < 0)
		return 1;
	struct daemon *d = daemon_start(&o);
	struct gm_store *store = d ? open_store(d, o.data) : NULL;
	rc = store ? serve(d, store, &cfg) : 1;
	if (d && !store)
		daemon_drop(d);
	gm_store_close(store);
	close(lock);
	return rc;
}
