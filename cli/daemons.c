/* The subcommands that are daemons: each main is its component's. */
#include "cli/cli.h"
#include "manager/gm.h"
#include "processor/node/pd.h"
#include "memory/md.h"
#include "storage/sd.h"

int cmd_gm(int argc, char **argv)
{
	return gm_main(argc, argv);
}

int cmd_pd(int argc, char **argv)
{
	return pd_main(argc, argv);
}

int cmd_md(int argc, char **argv)
{
	return md_main(argc, argv);
}

int cmd_sd(int argc, char **argv)
{
	return sd_main(argc, argv);
}
