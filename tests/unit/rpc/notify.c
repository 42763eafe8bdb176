/* What a service manager hears: by path and by abstract name, nothing when nobody listens, and the environment is clean after. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "rpc/notify.h"

static int listener(const char *name)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	size_t len = strlen(name);
	int s = socket(AF_UNIX, SOCK_DGRAM, 0);
	memcpy(un.sun_path, name, len + 1);
	if (*name == '@')
		un.sun_path[0] = 0;
	else
		unlink(name);
	socklen_t n = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (*name == '/'));
	assert_int_equal(bind(s, (struct sockaddr *)&un, n), 0);
	setenv("NOTIFY_SOCKET", name, 1);
	return s;
}

static void assert_heard(int s, const char *text)
{
	char got[128];
	ssize_t n = recv(s, got, sizeof(got) - 1, MSG_DONTWAIT);
	assert_true(n > 0);
	got[n] = 0;
	assert_string_equal(got, text);
}

static void heard_by(const char *name)
{
	struct notify n;
	int s = listener(name);
	setenv("WATCHDOG_USEC", "3000000", 1);
	notify_open(&n);
	assert_int_equal(n.watchdog_us, 3000000);
	assert_null(getenv("NOTIFY_SOCKET"));
	assert_null(getenv("WATCHDOG_USEC"));
	notify_send(&n, "READY=1\nSTATUS=x");
	assert_heard(s, "READY=1\nSTATUS=x");
	close(s);
	notify_send(&n, "STOPPING=1"); /* nobody there any more: no harm */
	notify_close(&n);
}

static void a_path_hears(void **state)
{
	char path[64];
	snprintf(path, sizeof(path), "/tmp/notify-test-%d", (int)getpid());
	heard_by(path);
	unlink(path);
}

static void an_abstract_name_hears(void **state)
{
	char name[64];
	snprintf(name, sizeof(name), "@notify-test-%d", (int)getpid());
	heard_by(name);
}

static void without_a_listener_nothing_is_said(void **state)
{
	static const char *const bad[] = {"", "relative", "@", "/tmp/no-such-socket-at-all"};
	for (u32 i = 0; i < ARRAY_SIZE(bad); i++) {
		struct notify n;
		setenv("NOTIFY_SOCKET", bad[i], 1);
		setenv("WATCHDOG_USEC", "1000", 1);
		notify_open(&n);
		assert_int_equal(n.sock, -1);
		assert_int_equal(n.watchdog_us, 0);
		notify_send(&n, "READY=1");
		notify_close(&n);
	}
}

static void another_process_watchdog_is_not_ours(void **state)
{
	struct notify n;
	char name[64];
	snprintf(name, sizeof(name), "@notify-test2-%d", (int)getpid());
	int s = listener(name);
	setenv("WATCHDOG_USEC", "1000", 1);
	setenv("WATCHDOG_PID", "1", 1);
	notify_open(&n);
	assert_true(n.sock >= 0);
	assert_int_equal(n.watchdog_us, 0);
	notify_close(&n);
	close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_path_hears),
		cmocka_unit_test(an_abstract_name_hears),
		cmocka_unit_test(without_a_listener_nothing_is_said),
		cmocka_unit_test(another_process_watchdog_is_not_ours),
	};
	return cmocka_run_group_tests_name("notify", tests, NULL, NULL);
}
