/* Loading the shared object with libucx in it, when a daemon is told to use it. libucx reads its settings from the environment as it is loaded: what
 * must be is set here before, what may be only where the user has not. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rpc/ucx/fabric.h"

#define OBJECT "lego-ucx.so"

static const struct setting {
	const char *name, *value;
	int must;
} settings[] = {
	/* it would patch mmap and munmap in this process */
	{"UCX_MEM_EVENTS", "n", 1},
	{"UCX_MEM_MMAP_HOOK_MODE", "none", 1},
	{"UCX_MEM_MALLOC_HOOKS", "n", 1},
	/* signals are the daemon's */
	{"UCX_HANDLE_ERRORS", "none", 1},
	{"UCX_ERROR_SIGNALS", "", 1},
	{"UCX_DEBUG_SIGNO", "0", 1},
	/* between processes of one host: an end that is gone is an error there too */
	{"UCX_POSIX_ERROR_HANDLING", "y", 1},
	{"UCX_SYSV_ERROR_HANDLING", "y", 1},
	{"UCX_LOG_FILE", "stderr", 0},
	{"UCX_LOG_LEVEL", "fatal", 0}, /* what breaks is said by the driver, in its own words */
	{"UCX_WARN_UNUSED_ENV_VARS", "n", 0},
	{"UCX_KEEPALIVE_INTERVAL", "1s", 0},
};

static const struct fabric_ops *loaded;
static char why_not[1300];

/* Where the object is. False with a message. */
static bool find_object(char *path, size_t room, char *err, size_t err_len)
{
	static const char *const places[] = {"", "../libexec/lego/"};
	char self[1024];
	const char *given = getenv("LEGO_UCX");

	if (given && *given) {
		snprintf(path, room, "%s", given);
		if (!access(path, F_OK))
			return true;
		snprintf(err, err_len, "no %s, which LEGO_UCX says is " OBJECT, given);
		return false;
	}
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	self[n > 0 ? n : 0] = 0;
	char *slash = strrchr(self, '/');

	if (slash)
		*slash = 0;
	for (u32 i = 0; i < ARRAY_SIZE(places); i++) {
		snprintf(path, room, "%s/%s" OBJECT, self, places[i]);
		if (!access(path, F_OK))
			return true;
	}
	snprintf(err, err_len, "no " OBJECT " beside %s/lego or in ../libexec/lego: this lego was built without UCX (Debian: libucx-dev)", self);
	return false;
}

bool fabric_there(char *err, size_t err_len)
{
	char path[1200];

	return find_object(path, sizeof(path), err, err_len);
}

static void *open_object(void)
{
	char path[1200];

	return find_object(path, sizeof(path), why_not, sizeof(why_not)) ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
}

static void load(void)
{
	for (u32 i = 0; i < ARRAY_SIZE(settings); i++)
		(void)setenv(settings[i].name, settings[i].value, settings[i].must);
	void *lib = open_object();
	const struct fabric_ops *ops = lib ? dlsym(lib, FABRIC_SYMBOL) : NULL;

	if (ops && ops->version == FABRIC_VERSION)
		loaded = ops;
	else if (ops)
		snprintf(why_not, sizeof(why_not), OBJECT " is of another version of lego");
	else if (!why_not[0])
		snprintf(why_not, sizeof(why_not), "cannot load " OBJECT ": %.180s (Debian: libucx0)", dlerror());
}

const struct fabric_ops *fabric_load(char *err, size_t err_len)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, load);
	if (!loaded)
		snprintf(err, err_len, "%s", why_not);
	return loaded;
}
