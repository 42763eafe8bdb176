/* The subcommands that are daemons: each main is its component's. */
#include "cli/cli.h"
#include "manager/gm.h"
#ifdef HAVE_PD
#include "processor/node/pd.h"
#endif
#ifdef HAVE_MD
#include "memory/md.h"
#endif
#ifdef HAVE_SD
#include "storage/sd.h"
#endif

int cmd_gm(int argc, char **argv)
{
	return gm_main(argc, argv);
}

#ifdef HAVE_PD
int cmd_pd(int argc, char **argv)
{
	return pd_main(argc, argv);
}
#endif

#ifdef HAVE_MD
int cmd_md(int argc, char **argv)
{
	return md_main(argc, argv);
}
#endif

#ifdef HAVE_SD
int cmd_sd(int argc, char **argv)
{
	return sd_main(argc, argv);
}
#endif
