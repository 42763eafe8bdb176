/* The manager's store over both backends: what was written is there after a restart, numbers are never given twice; and with etcd, that one
 * who does not lead writes nothing. The etcd cases start an etcd of their own; without one they are skipped. */
#include "manager/store_etcd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fake.h"

struct rig {
	char dir[64], path[96], url[64];
	bool with_etcd;
	pid_t etcd;
	struct etcd *e;
	u64 lease, revision;
	struct gm_store *store;
};

static struct etcd_error why;

/* ---- an etcd */

static void free_ports(int port[2])
{
	int fd[2];
	for (int i = 0; i < 2; i++) {
		struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
		socklen_t len = sizeof(a);
		fd[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_int_equal(bind(fd[i], (struct sockaddr *)&a, len), 0);
		assert_int_equal(getsockname(fd[i], (struct sockaddr *)&a, &len), 0);
		port[i] = ntohs(a.sin_port);
	}
	close(fd[0]);
	close(fd[1]);
}

static void run_etcd(struct rig *r, const int port[2])
{
	char client[64], peer[64], cluster[96];
	snprintf(client, sizeof(client), "http://127.0.0.1:%d", port[0]);
	snprintf(peer, sizeof(peer), "http://127.0.0.1:%d", port[1]);
	snprintf(cluster, sizeof(cluster), "default=%s", peer);
	if (!freopen("/dev/null", "w", stdout) || !freopen("/dev/null", "w", stderr))
		_exit(1);
	execlp("etcd", "etcd", "--data-dir", r->dir, "--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer,
	       "--initial-advertise-peer-urls", peer, "--initial-cluster", cluster, (char *)NULL);
	_exit(127);
}

static void nap(void)
{
	nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
}

/* Serves within 20 s, or there is none. */
static bool start_etcd(struct rig *r)
{
	int port[2], status;
	char err[256], leader[32];
	free_ports(port);
	snprintf(r->url, sizeof(r->url), "etcd://127.0.0.1:%d/unit", port[0]);
	r->e = etcd_new(r->url, err, sizeof(err));
	r->etcd = fork();
	if (!r->etcd)
		run_etcd(r, port);
	for (int i = 0; i < 400 && r->e; i++, nap()) {
		if (etcd_leader(r->e, leader, sizeof(leader), &why) != ETCD_AWAY)
			return true;
		if (waitpid(r->etcd, &status, WNOHANG) == r->etcd) {
			r->etcd = 0;
			return false;
		}
	}
	return false;
}

static void save(struct rig *r)
{
	u64 upto = 0;
	json_t *ops;
	while (r->e && (ops = store_etcd_take(r->store, r->e, &upto))) {
		assert_int_equal(etcd_commit(r->e, r->revision, ops, &why), ETCD_OK);
		json_decref(ops);
		assert_true(upto <= store_etcd_changes(r->store));
	}
	if (r->e)
		assert_int_equal(upto ? upto : store_etcd_changes(r->store), store_etcd_changes(r->store));
}

static void open_store(struct rig *r)
{
	char err[256];
	u32 ttl_ms = 60000;
	if (!r->e) {
		r->store = gm_store_open(r->path, 77, err, sizeof(err));
		assert_non_null(r->store);
		return;
	}
	assert_int_equal(etcd_grant(r->e, &ttl_ms, &r->lease, &why), ETCD_OK);
	assert_int_equal(etcd_lead(r->e, "tcp:me:1", r->lease, &r->revision, &why), ETCD_OK);
	json_t *records = etcd_load(r->e, &why);
	assert_non_null(records);
	r->store = store_etcd_new(records, r->revision, 77);
	assert_non_null(r->store);
}

static void reopen(struct rig *r)
{
	save(r);
	gm_store_close(r->store);
	if (r->e)
		assert_int_equal(etcd_revoke(r->e, r->lease, &why), ETCD_OK);
	open_store(r);
}

static int setup(void **state, bool with_etcd)
{
	struct rig *r = calloc(1, sizeof(*r));
	snprintf(r->dir, sizeof(r->dir), "/tmp/store.XXXXXX");
	assert_non_null(mkdtemp(r->dir));
	snprintf(r->path, sizeof(r->path), "%s/manager.db", r->dir);
	r->with_etcd = with_etcd;
	*state = r;
	if (!with_etcd || start_etcd(r))
		open_store(r);
	return 0;
}

static int with_sqlite(void **state)
{
	return setup(state, false);
}

static int with_etcd(void **state)
{
	return setup(state, true);
}

static int teardown(void **state)
{
	struct rig *r = *state;
	char cmd[128];
	gm_store_close(r->store);
	etcd_free(r->e);
	if (r->etcd) {
		kill(r->etcd, SIGKILL);
		waitpid(r->etcd, NULL, 0);
	}
	snprintf(cmd, sizeof(cmd), "rm -rf %s", r->dir);
	(void)!system(cmd);
	free(r);
	return 0;
}

static struct rig *rig(void **state)
{
	struct rig *r = *state;
	if (!r->store) {
		print_message("skipped: no etcd (Debian: etcd-server), or it does not start\n");
		skip();
	}
	return r;
}

/* ---- both */

static void numbers_are_never_given_twice(void **state)
{
	struct rig *r = rig(state);
	u64 id = gm_store_cluster_id(r->store), term = gm_store_new_term(r->store), first = gm_store_take_asids(r->store, 100);
	assert_int_equal(id, 77);
	assert_true(term > 0);
	assert_int_equal(first, 1);
	assert_int_equal(gm_store_seat(r->store, "p0"), 0);
	assert_int_equal(gm_store_seat(r->store, "p1"), 1);
	reopen(r);
	assert_int_equal(gm_store_cluster_id(r->store), id);
	assert_true(gm_store_new_term(r->store) > term);
	assert_int_equal(gm_store_take_asids(r->store, 10), 101);
	assert_int_equal(gm_store_seat(r->store, "p1"), 1);
	assert_int_equal(gm_store_seat(r->store, "p2"), 2);
}

static struct stored_component seen[8];
static u32 nseen;

static void see_component(void *arg, const struct stored_component *c)
{
	seen[nseen++] = *c;
}

static void components_and_epochs_stay(void **state)
{
	struct rig *r = rig(state);
	struct stored_component m0 = {.kind = KIND_MEMORY, .name = "m0", .addr = "tcp:a:1", .incarnation = 0xfedcba9876543210ull, .total_bytes = 5 * GIB,
				      .host_pid = 12, .cores = 3, .draining = true},
				p0 = {.kind = KIND_PROCESSOR, .name = "p0", .addr = "tcp:b:1", .incarnation = 3};
	nseen = 0;
	assert_int_equal(gm_store_put_component(r->store, &m0), 0);
	assert_int_equal(gm_store_put_component(r->store, &p0), 0);
	assert_int_equal(gm_store_next_epoch(r->store, "m0"), 1);
	assert_int_equal(gm_store_next_epoch(r->store, "m0"), 2);
	assert_int_equal(gm_store_drop_component(r->store, "p0"), 0);
	reopen(r);
	assert_int_equal(gm_store_each_component(r->store, see_component, NULL), 0);
	assert_int_equal(nseen, 1);
	assert_string_equal(seen[0].name, "m0");
	assert_string_equal(seen[0].addr, "tcp:a:1");
	assert_true(seen[0].incarnation == m0.incarnation && seen[0].total_bytes == m0.total_bytes && seen[0].host_pid == 12 && seen[0].cores == 3);
	assert_true(seen[0].draining && seen[0].epoch == 2 && seen[0].kind == KIND_MEMORY);
	assert_int_equal(gm_store_drop_components(r->store), 0);
	reopen(r);
	nseen = 0;
	gm_store_each_component(r->store, see_component, NULL);
	assert_int_equal(nseen, 0);
	assert_int_equal(gm_store_next_epoch(r->store, "m0"), 3); /* outlives the row */
}

static struct stored_vnode vnode[8];
static u32 nvnode;

static void see_vnode(void *arg, const struct stored_vnode *v)
{
	vnode[nvnode++] = *v;
}

static void vnodes_stay_with_all_they_are(void **state)
{
	struct rig *r = rig(state);
	struct stored_vnode a = {.name = "a", .spec = {.memory_bytes = 7 * GIB, .excache_bytes = 9, .cpus = 2, .replicas = 1, .own_net = 1,
						       .storage_mib = 55, .storage = "s0", .image = "/i", .ip = "10.1.2.0"}},
			    b = {.name = "b", .spec = {.storage = "s1"}};
	nvnode = 0;
	assert_int_equal(gm_store_add_vnode(r->store, &a), 0);
	assert_int_equal(gm_store_add_vnode(r->store, &b), 0);
	assert_string_equal(b.spec.ip, "10.64.0.128");
	assert_int_equal(gm_store_drop_vnode(r->store, b.id), 0);
	reopen(r);
	gm_store_each_vnode(r->store, see_vnode, NULL);
	assert_int_equal(nvnode, 1);
	assert_int_equal(vnode[0].id, a.id);
	assert_string_equal(vnode[0].name, "a");
	assert_memory_equal(&vnode[0].spec, &a.spec, sizeof(a.spec));
	assert_int_equal(gm_store_add_vnode(r->store, &b), 0);
	assert_int_equal(b.id, 3);
}

static struct stored_chain chain[8];
static u32 nchain;

static void see_chain(void *arg, const struct stored_chain *c)
{
	chain[nchain++] = *c;
}

static void chains_stay_and_change(void **state)
{
	struct rig *r = rig(state);
	struct stored_chain c = {.epoch = 4, .flags = 1, .owner_incarnation = 0x8000000000000001ull, .owner = "m0", .standby = "m1", .standby_incarnation = 6};
	nchain = 0;
	assert_int_equal(gm_store_put_chain(r->store, &c), 0);
	assert_int_equal(c.id, 1);
	c.epoch = 5;
	c.standby[0] = 0;
	assert_int_equal(gm_store_put_chain(r->store, &c), 0);
	reopen(r);
	gm_store_each_chain(r->store, see_chain, NULL);
	assert_int_equal(nchain, 1);
	assert_true(chain[0].id == 1 && chain[0].epoch == 5 && chain[0].owner_incarnation == c.owner_incarnation && !chain[0].standby[0]);
	assert_int_equal(gm_store_drop_chains(r->store), 0);
	c.id = 0;
	assert_int_equal(gm_store_put_chain(r->store, &c), 0);
	assert_int_equal(c.id, 2);
}

/* ---- etcd */

static void many_changes_go_in_order(void **state)
{
	struct rig *r = rig(state);
	u64 upto, last = 0;
	json_t *ops;
	for (u32 i = 0; i < 250; i++) {
		struct stored_component c = {.kind = KIND_MEMORY, .addr = "tcp:a:1", .incarnation = i + 1};
		snprintf(c.name, sizeof(c.name), "m%u", i);
		assert_int_equal(gm_store_put_component(r->store, &c), 0);
	}
	while ((ops = store_etcd_take(r->store, r->e, &upto))) {
		assert_true(json_array_size(ops) <= ETCD_OPS && upto > last);
		last = upto;
		assert_int_equal(etcd_commit(r->e, r->revision, ops, &why), ETCD_OK);
		assert_int_equal(etcd_commit(r->e, r->revision, ops, &why), ETCD_OK); /* a repeat is harmless */
		json_decref(ops);
	}
	assert_int_equal(last, store_etcd_changes(r->store));
	json_t *all = etcd_load(r->e, &why);
	assert_true(json_object_size(all) >= 250);
	json_decref(all);
}

static void who_lost_the_lead_writes_nothing(void **state)
{
	struct rig *r = rig(state);
	u64 other, mine = r->revision, made;
	u32 ttl_ms = 60000;
	char leader[64];
	assert_int_equal(etcd_grant(r->e, &ttl_ms, &other, &why), ETCD_OK);
	assert_int_equal(etcd_lead(r->e, "tcp:other:1", other, &made, &why), ETCD_REFUSED); /* there is a leader */
	assert_int_equal(etcd_keep(r->e, r->lease, &why), ETCD_OK);
	assert_int_equal(etcd_revoke(r->e, r->lease, &why), ETCD_OK);
	assert_int_equal(etcd_keep(r->e, r->lease, &why), ETCD_REFUSED);
	assert_int_equal(etcd_leader(r->e, leader, sizeof(leader), &why), ETCD_REFUSED); /* nobody */
	json_t *ops = json_pack("[o]", etcd_put(r->e, "late", "1"));
	assert_int_equal(etcd_commit(r->e, mine, ops, &why), ETCD_REFUSED);
	assert_int_equal(etcd_lead(r->e, "tcp:other:1", other, &made, &why), ETCD_OK);
	assert_true(made > mine);
	assert_int_equal(etcd_leader(r->e, leader, sizeof(leader), &why), ETCD_OK);
	assert_string_equal(leader, "tcp:other:1");
	assert_int_equal(etcd_commit(r->e, mine, ops, &why), ETCD_REFUSED);
	json_decref(ops);
	json_t *all = etcd_load(r->e, &why);
	assert_null(json_object_get(all, "late"));
	json_decref(all);
}

static void wrong_urls_are_refused(void **state)
{
	static const char *const bad[] = {"etcd://", "etcd:///x", "http://a:1", "etcd://host", "etcd://a:1,", "etcd://a:1/b/c", "etcd://a:1/ü"};
	char err[256];
	for (u32 i = 0; i < ARRAY_SIZE(bad); i++) {
		struct etcd *e = etcd_new(bad[i], err, sizeof(err));
		if (e && i != 4) /* a comma at the end is harmless */
			fail_msg("%s", bad[i]);
		etcd_free(e);
	}
}

int main(void)
{
#define BOTH(t) {#t " (sqlite)", t, with_sqlite, teardown, NULL}, {#t " (etcd)", t, with_etcd, teardown, NULL}
#define ETCD(t) {#t, t, with_etcd, teardown, NULL}
	const struct CMUnitTest tests[] = {
		BOTH(numbers_are_never_given_twice), BOTH(components_and_epochs_stay), BOTH(vnodes_stay_with_all_they_are), BOTH(chains_stay_and_change),
		ETCD(many_changes_go_in_order),	     ETCD(who_lost_the_lead_writes_nothing), cmocka_unit_test(wrong_urls_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
