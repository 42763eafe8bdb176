/* lego.conf: what a good one says, and for each kind of mistake the exact line and what is wrong with it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rpc/conf.h"

static const char good[] = "# the rack\n"
			   "[cluster]\n"
			   "name = rack1\n"
			   "manager = tcp:10.0.0.1:7700   # gm0\n"
			   "  key=/etc/lego/key\r\n"
			   "\n"
			   "[memory]\n"
			   "memory = 8G\n"
			   "log = warn\n"
			   "[memory m3]\n"
			   "memory = 64G\n"
			   "[processor]\n"
			   "excache = 512M\n"
			   "[storage]\n"
			   "listen = ucx:10.0.0.3:0\n"
			   "store = rados:lego";

static void a_good_one_is_read(void **state)
{
	char err[256] = "";
	u32 line = 0;
	struct conf *c = conf_parse(good, strlen(good), "f", err, sizeof(err));
	assert_string_equal(err, "");
	assert_non_null(c);
	assert_string_equal(conf_cluster(c, "name"), "rack1");
	assert_string_equal(conf_cluster(c, "manager"), "tcp:10.0.0.1:7700");
	assert_string_equal(conf_cluster(c, "key"), "/etc/lego/key");
	assert_string_equal(conf_cluster(c, "run"), "/run/lego");
	assert_string_equal(conf_node(c, KIND_MEMORY, "m0", "memory", &line), "8G");
	assert_int_equal(line, 8);
	assert_string_equal(conf_node(c, KIND_MEMORY, "m3", "memory", &line), "64G");
	assert_int_equal(line, 11);
	assert_string_equal(conf_node(c, KIND_MEMORY, "m3", "log", NULL), "warn"); /* of its kind, where it says nothing itself */
	assert_null(conf_node(c, KIND_PROCESSOR, "p0", "log", NULL));
	assert_string_equal(conf_node(c, KIND_PROCESSOR, "p0", "excache", &line), "512M");
	assert_int_equal(line, 13);
	assert_string_equal(conf_node(c, KIND_STORAGE, "s0", "listen", NULL), "ucx:10.0.0.3:0");
	assert_string_equal(conf_node(c, KIND_STORAGE, "s0", "store", NULL), "rados:lego");
	conf_free(c);
}

#define START "[cluster]\nmanager = tcp:h:1\nkey = /k\n"
static const struct {
	const char *text, *err;
} bad[] = {
	{"", "f:1: there is no [cluster] section"},
	{"\n\n[memory]\nmemory = 1G\n\n", "f:5: there is no [cluster] section"},
	{"[cluster]\nkey = /k\n", "f:1: [cluster] needs manager"},
	{"\n[cluster]\nmanager = tcp:h:1\n", "f:2: [cluster] needs key"},
	{"key = /k\n", "f:1: key stands before any section"},
	{START "memory\n", "f:4: want a [section] or key = value, not 'memory'"},
	{START "[memory\nmemory = 1G\n", "f:4: a section ends with ']'"},
	{START "\n[disk]\n", "f:5: there is no section [disk]"},
	{START "[]\n", "f:4: there is no section []"},
	{START "[cluster]\n", "f:4: [cluster] was there already, on line 1"},
	{START "[memory m1]\n\n[memory  m1 ]\n", "f:6: [memory m1] was there already, on line 4"},
	{START "[memory m/1]\n", "f:4: 'm/1' is no name of a node"},
	{START "[cluster x]\n", "f:4: [cluster] has no name here"},
	{START "[memory]\nmemroy = 1G\n", "f:5: [memory] has no setting 'memroy'; it has listen, log, log-format, metrics, spin-us, labels, memory, threads, file-cache, ready, store, store-ratio, store-path, store-node, store-front, lease-ms"},
	{START "[memory]\nexcache = 1G\n", "f:5: [memory] has no setting 'excache'"},
	{START "[memory]\nmemory = 1G\n# x\nmemory = 2G\n", "f:7: memory was set already, on line 5"},
	{START "[memory]\nmemory =\n", "f:5: memory has no value"},
	{START "[memory]\nmemory = # all\n", "f:5: memory has no value"},
	{START "[memory]\nmemory = 12Q\n", "f:5: memory: '12Q' is no size from 4194304"},
	{START "[memory]\nmemory = 1K\n", "f:5: memory: '1K' is no size"},
	{START "[storage]\nstore = sqlite\n", "f:5: store: 'sqlite' is no pool: want rados:POOL"},
	{START "[memory]\nlease-ms = 3s\n", "f:5: lease-ms: '3s' is no number from 100 to 600000"},
	{START "[manager]\nlease-ms = 99999999999999999999\n", "f:5: lease-ms: '99999999999999999999' is no number"},
	{START "[manager]\ngpm = fast\n", "f:5: gpm: 'fast' is none of: most-free round-robin least-loaded pack spread"},
	{START "[manager]\nrebalance-above = 120%\n", "f:5: rebalance-above: '120%' is no share from 1% to 99%"},
	{START "[manager]\nrebalance-above = %\n", "f:5: rebalance-above: '%' is no share"},
	{START "[memory]\nlabels = a, b\n", "f:5: labels: 'a, b' is no list of labels such as ssd,rack=a"},
	{START "[processor]\nlabels = a,,b\n", "f:5: labels: 'a,,b' is no list"},
	{START "[manager]\nlabels = a\n", "f:5: [manager] has no setting 'labels'"},
	{START "[manager]\ngpm = robin\n", "f:5: gpm: 'robin' is none of"},
	{START "[storage]\nlisten = 10.0.0.1:7\n", "f:5: listen: '10.0.0.1:7' is no address"},
	{START "[storage]\nlisten = tcp:10.0.0.1\n", "f:5: listen: 'tcp:10.0.0.1' is no address"},
	{START "[storage]\nlisten = tcp:10.0.0.1:70000\n", "f:5: listen: "},
	{START "transport = rdma\n", "f:4: transport: 'rdma' is none of: tcp ucx"},
	{START "[memory]\nlisten = ucx:10.0.0.1\n", "f:5: listen: 'ucx:10.0.0.1' is no address"},
	{"[cluster]\nmanager = ucx:h:1\n", "f:2: manager: 'ucx:h:1' is no address"},
	{"[cluster]\nname = a b\n", "f:2: name: 'a b' is no name"},
	{"[cluster]\nkey = key\n", "f:2: key: 'key' is no absolute path"},
};

static void each_mistake_has_its_line(void **state)
{
	for (u32 i = 0; i < ARRAY_SIZE(bad); i++) {
		char err[512] = "";
		struct conf *c = conf_parse(bad[i].text, strlen(bad[i].text), "f", err, sizeof(err));
		if (c || strncmp(err, bad[i].err, strlen(bad[i].err)))
			fail_msg("case %u: '%s', wanted '%s'", i, err, bad[i].err);
	}
}

static void no_byte_is_lost(void **state)
{
	static const char text[] = START "[memory]\nmem\0ory = 1G\n";
	char err[512];
	assert_null(conf_parse(text, sizeof(text) - 1, "f", err, sizeof(err)));
	assert_string_equal(err, "f:5: there is a zero byte on it");
}

static void a_file_that_cannot_be_read_is_named(void **state)
{
	char err[512];
	assert_null(conf_read("/nowhere/lego.conf", err, sizeof(err)));
	assert_string_equal(err, "/nowhere/lego.conf: No such file or directory");
	assert_null(conf_read("/", err, sizeof(err)));
	assert_non_null(strstr(err, "Is a directory"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_good_one_is_read),
		cmocka_unit_test(each_mistake_has_its_line),
		cmocka_unit_test(no_byte_is_lost),
		cmocka_unit_test(a_file_that_cannot_be_read_is_named),
	};
	return cmocka_run_group_tests_name("conf", tests, NULL, NULL);
}
