/* Ranges of host users: no two at once, the same one again while it is free, an end to them. The file of locks is the host's, so the ranges are ones that
 * nobody else takes. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "processor/node/vnode_users.h"
#include "rpc/daemon.h"

static u32 base_of_ours;
#define BASE base_of_ours
#define SIZE 16u

static void two_are_different_and_come_back(void **state)
{
	struct user_range a, b, c;
	if (geteuid() || users_take(BASE, SIZE, 5, &a))
		skip();
	assert_int_equal(users_take(BASE, SIZE, 5, &b), 0);
	assert_true(a.first + SIZE <= b.first || b.first + SIZE <= a.first);
	assert_true(a.first >= BASE && b.first >= BASE && a.first < VNODE_USERS_END && b.first < VNODE_USERS_END);
	users_give_back(&a);
	assert_int_equal(users_take(BASE, SIZE, 5, &c), 0);
	assert_int_equal(c.first, a.first);
	users_give_back(&b);
	users_give_back(&c);
}

static void others_see_it_until_its_holder_ends(void **state)
{
	struct user_range a;
	int status, ready[2], go[2];
	char byte;
	if (geteuid() || users_take(BASE, SIZE, 1, &a))
		skip();
	users_give_back(&a);
	assert_int_equal(pipe(ready) | pipe(go), 0);
	pid_t pid = fork();
	if (!pid) {
		(void)!write(ready[1], users_take(BASE, SIZE, 1, &a) ? "n" : "y", 1);
		close(go[1]);
		(void)!read(go[0], &byte, 1);
		_exit(0);
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	assert_int_equal(byte, 'y');
	assert_true(users_taken(a.first));
	close(go[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_false(users_taken(a.first));
}

static void there_is_an_end(void **state)
{
	struct user_range a[3], over;
	u32 base = VNODE_USERS_END - 3 * SIZE - SIZE / 2, n = 0;
	while (n < 3 && !geteuid() && !users_take(base, SIZE, n, &a[n]))
		n++;
	if (n == 3)
		assert_int_equal(users_take(base, SIZE, 9, &over), -EUSERS);
	while (n)
		users_give_back(&a[--n]);
}

static void what_is_a_range(void **state)
{
	static const char *const bad[] = {"", "x", "0", "999", "1000:0", "1000:15", "1000:", "1000:16x", "4294967295", "4294950000:65536", "-1", "1000:99999999"};
	u32 base = 1, size = 7;
	for (u32 i = 0; i < ARRAY_SIZE(bad); i++)
		assert_false(daemon_parse_users(bad[i], &base, &size));
	size = 65536;
	assert_true(daemon_parse_users("700000000", &base, &size));
	assert_int_equal(base, 700000000);
	assert_int_equal(size, 65536);
	assert_true(daemon_parse_users("1000:4096", &base, &size));
	assert_int_equal(base, 1000);
	assert_int_equal(size, 4096);
	assert_true(daemon_parse_users("off", &base, &size));
	assert_int_equal(size, 0);
}

int main(void)
{
	base_of_ours = VNODE_USERS_END - 64 - (u32)(getpid() % 1000000) * 64;
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(two_are_different_and_come_back),
	    cmocka_unit_test(others_see_it_until_its_holder_ends),
	    cmocka_unit_test(there_is_an_end),
	    cmocka_unit_test(what_is_a_range),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
