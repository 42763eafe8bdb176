/* `lego`: finds the subcommand and calls it. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

static const struct {
	const char *word;
	int (*run)(int argc, char **argv);
	const char *help;
} commands[] = {
#define COMMAND(word, fn, help) {word, fn, help},
#include "cli/commands.def"
#undef COMMAND
};

static int show_help(void)
{
	printf("usage: lego COMMAND [OPTION...]\n"
	       "Runs unmodified programs over pools of processors, memory and storage.\n\n");
	for (u32 i = 0; i < ARRAY_SIZE(commands); i++)
		printf("  %-8s %s\n", commands[i].word, commands[i].help);
	printf("\nTry: lego run -- ls -l        More: lego COMMAND --help\n");
	return fflush(stdout) ? CLI_FAILED : CLI_OK;
}

int main(int argc, char **argv)
{
	const char *word = argc > 1 ? argv[1] : "--help";
	if (!strcmp(word, "--help") || !strcmp(word, "-h") || !strcmp(word, "help"))
		return show_help();
	if (!strcmp(word, "--version")) {
		puts("lego " LEGO_VERSION);
		return fflush(stdout) ? CLI_FAILED : CLI_OK;
	}
	for (u32 i = 0; i < ARRAY_SIZE(commands); i++)
		if (!strcmp(word, commands[i].word))
			return commands[i].run(argc - 1, argv + 1);
	cli_error("unknown command '%s' (see lego --help)", word);
	return CLI_USAGE;
}
