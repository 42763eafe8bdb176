/* Options, numbers and sizes of the command line, and processes by pid and start time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/cluster.h"
#include "rpc/daemon.h"

static void sizes(void **state)
{
	u64 n;
	static const struct {
		const char *text;
		u64 want;
	} good[] = {{"0", 0},	     {"512", 512},	{"64K", 64 * KIB},     {"64k", 64 * KIB},  {"1M", MIB},
		    {"1.5G", GIB * 3 / 2}, {"8GiB", 8 * GIB}, {"2TB", 2048 * GIB}, {"16MB", 16 * MIB}};
	static const char *const bad[] = {"", "K", "-1", "1X", "1KX", "1 M", "nan", "inf", "1e30", "99999999999G", "1KiBs"};
	for (u32 i = 0; i < ARRAY_SIZE(good); i++) {
		assert_true(cli_parse_size(good[i].text, &n));
		assert_int_equal(n, good[i].want);
	}
	for (u32 i = 0; i < ARRAY_SIZE(bad); i++)
		assert_false(cli_parse_size(bad[i], &n));
}

static void numbers(void **state)
{
	u32 n;
	assert_true(cli_parse_u32("7", 1, 9, &n) && n == 7);
	assert_false(cli_parse_u32("0", 1, 9, &n));
	assert_false(cli_parse_u32("10", 1, 9, &n));
	assert_false(cli_parse_u32("-3", 0, UINT32_MAX, &n));
	assert_false(cli_parse_u32(" 3", 0, 9, &n));
	assert_false(cli_parse_u32("3x", 0, 9, &n));
	assert_false(cli_parse_u32("", 0, 9, &n));
	assert_false(cli_parse_u32("99999999999999999999999", 0, UINT32_MAX, &n));
}

static void shown_sizes(void **state)
{
	char buf[16];
	assert_string_equal(cli_show_size(buf, 0), "0 B");
	assert_string_equal(cli_show_size(buf, 1023), "1023 B");
	assert_string_equal(cli_show_size(buf, 1536), "1.5 KiB");
	assert_string_equal(cli_show_size(buf, 256 * MIB), "256 MiB");
	assert_string_equal(cli_show_size(buf, UINT64_MAX), "16.0 EiB");
}

/* A command like `run`: repeatable options, a letter, and words that are the program's. */
static struct {
	bool flag;
	const char *text;
	u64 size;
	u32 number;
	char env[64];
} got;

static bool add_env(void *to, const char *text)
{
	if (!strchr(text, '='))
		return false;
	strcat(to, text);
	return true;
}

static const struct cli_opt opts[] = {
	{"flag", 0, OPT_FLAG, NULL, "", &got.flag},	  {"text", 't', OPT_STRING, "T", "", &got.text},
	{"excache", 0, OPT_SIZE, "SIZE", "", &got.size}, {"number", 'n', OPT_U32, "N", "", &got.number, NULL, 2, 4},
	{"env", 'e', OPT_CALL, "K=V", "", got.env, add_env},
};
static const struct cli_usage usage = {"run [OPTION...] -- CMD", "about", opts, ARRAY_SIZE(opts), CLI_RUN_FAILED};

static int parse(int *first, char **argv)
{
	int argc = 0;
	while (argv[argc])
		argc++;
	memset(&got, 0, sizeof(got));
	*first = -1;
	return cli_options(&usage, argc, argv, first);
}
#define PARSE(first, ...) parse(first, (char *[]){(char[]){"run"}, __VA_ARGS__ __VA_OPT__(, ) NULL})
#define W(s) ((char[]){s})

static void options_in_all_spellings(void **state)
{
	int first;
	assert_int_equal(PARSE(&first, W("--excache=4K"), W("-t"), W("x"), W("--number"), W("3"), W("-ea=1"), W("--env"), W("b=2"), W("--flag"),
			       W("--"), W("ls"), W("--flag")),
			 CLI_GO_ON);
	assert_int_equal(got.size, 4096);
	assert_string_equal(got.text, "x");
	assert_int_equal(got.number, 3);
	assert_string_equal(got.env, "a=1b=2");
	assert_true(got.flag);
	assert_int_equal(first, 11);
}

static void the_programs_options_are_its_own(void **state)
{
	int first;
	assert_int_equal(PARSE(&first, W("ls"), W("--flag"), W("-t")), CLI_GO_ON);
	assert_int_equal(first, 1);
	assert_false(got.flag);
	assert_int_equal(PARSE(&first), CLI_GO_ON);
	assert_int_equal(first, 1);
}

static void wrong_options_give_the_commands_status(void **state)
{
	int first;
	assert_int_equal(PARSE(&first, W("--nonsense")), CLI_RUN_FAILED);
	assert_int_equal(PARSE(&first, W("-z")), CLI_RUN_FAILED);
	assert_int_equal(PARSE(&first, W("--text")), CLI_RUN_FAILED);
	assert_int_equal(PARSE(&first, W("--excache"), W("big")), CLI_RUN_FAILED);
	assert_int_equal(PARSE(&first, W("-n"), W("5")), CLI_RUN_FAILED);
	assert_int_equal(PARSE(&first, W("--env=x")), CLI_RUN_FAILED);
	assert_int_equal(PARSE(&first, W("--flag=1")), CLI_RUN_FAILED);
}

static void processes_by_pid_and_start(void **state)
{
	u64 mine = process_start_ticks(getpid());
	int status;
	assert_true(mine > 0);
	assert_true(process_alive(getpid(), mine));
	assert_false(process_alive(getpid(), mine + 1));
	pid_t child = fork();
	if (!child)
		_exit(0);
	u64 start = process_start_ticks(child);
	siginfo_t info;
	assert_int_equal(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
	assert_false(process_alive(child, start)); /* a zombie is dead */
	waitpid(child, &status, 0);
	assert_int_equal(process_start_ticks(child), 0);
}

static void statuses_have_names(void **state)
{
	assert_string_equal(cli_status_text(-2), "No such file or directory");
	assert_string_equal(cli_status_text(-WIRE_DOWN), "connection broken");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes),
		cmocka_unit_test(numbers),
		cmocka_unit_test(shown_sizes),
		cmocka_unit_test(options_in_all_spellings),
		cmocka_unit_test(the_programs_options_are_its_own),
		cmocka_unit_test(wrong_options_give_the_commands_status),
		cmocka_unit_test(processes_by_pid_and_start),
		cmocka_unit_test(statuses_have_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
