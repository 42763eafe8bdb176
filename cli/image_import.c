/* lego image import: lego-image-reader (cli/reader/) turns the source into records, which go from here to every chosen storage node in the same
 * batches. A node that fails is left behind with a message that names it; the others go on. Nothing is visible at a node before it answered the
 * last request, and a line that ends before leaves nothing there. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/image.h"
#include "cli/spawn.h"

#define IMAGE_END	 0xffffffffu /* of the reader: nothing is missing; cli/reader/reader.h */
#define COMMIT_MS	 (30u * 60u * 1000u) /* everything goes to disk in it */
#define PROGRESS_EVERY_MS 200u

struct import {
	struct image_nodes *nodes;
	const char *name;
	int from; /* the reader's output */
	u8 buf[MSG_MAX_DATA];
	u32 have; /* bytes in buf */
	u64 names, bytes, shown_ms;
	u32 layers;
	bool tty, ended;
};

/* ---- the reader */

static bool reader_path(char path[PATH_MAX])
{
	static const char *const places[] = {"lego-image-reader", "../libexec/lego/lego-image-reader"};
	static char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	const char *slash = n > 0 ? strrchr(self, '/') : NULL;
	for (u32 i = 0; slash && i < ARRAY_SIZE(places); i++)
		if (snprintf(path, PATH_MAX, "%.*s/%s", (int)(slash - self), self, places[i]) < PATH_MAX && !access(path, X_OK))
			return true;
	cli_error("image: no lego-image-reader beside %s or in ../libexec/lego: this lego was built without libarchive (libarchive-dev)", self);
	return false;
}

static pid_t start_reader(const char *source, const char *ref, int *from)
{
	static char path[PATH_MAX];
	int ends[2];
	char *argv[] = {path, (char *)(uintptr_t)source, (char *)(uintptr_t)ref, NULL};
	if (!reader_path(path))
		return -1;
	if (pipe2(ends, O_CLOEXEC)) {
		cli_error("image: no pipe: %s", strerror(errno));
		return -1;
	}
	fflush(NULL);
	pid_t pid = fork();
	if (!pid) {
		if (dup2(ends[1], STDOUT_FILENO) >= 0)
			execv(path, argv);
		cli_error("image: %s: %s", path, strerror(errno));
		_exit(127);
	}
	close(ends[1]);
	*from = ends[0];
	if (pid < 0) {
		cli_error("image: cannot start %s: %s", path, strerror(errno));
		close(ends[0]);
	}
	return pid;
}

static bool reader_ended_well(pid_t pid)
{
	int status;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFSIGNALED(status) && WTERMSIG(status) != SIGPIPE)
		cli_error("image: the reader was ended by signal %d", WTERMSIG(status));
	return WIFEXITED(status) && !WEXITSTATUS(status);
}

/* ---- batches */

static struct image_rec rec_at(const u8 *at)
{
	struct image_rec r;
	memcpy(&r, at, sizeof(r));
	return r;
}

static u64 rec_len(const u8 *at)
{
	struct image_rec r = rec_at(at);
	return ALIGN_UP(sizeof(r) + (u64)r.len + r.len2, 8);
}

static const char *why(const struct image_rec *r, s32 error)
{
	switch (-error) {
	case ELOOP:
	case ENOTDIR:
		return "its path leads through a link or a file (refused)";
	case EINVAL:
		return "not a name or an entry that an image can have";
	case ENOENT:
		return r->kind == IMAGE_LINK ? "a hard link to what the image does not have" : "not found";
	default:
		return cli_status_text(error);
	}
}

/* Names the record that a node did not take. */
static void say_which(const struct import *im, const char *node, const struct sd_image_put_rep *rep, u32 len)
{
	const u8 *at = im->buf, *path = at;
	struct image_rec r = {0}, named = {0};
	for (u32 i = 0; i <= rep->done && at < im->buf + len; i++) {
		r = rec_at(at);
		if (r.len) {
			named = r;
			path = at + sizeof(r);
		}
		at += rec_len(at);
	}
	cli_error("image: storage node %s: '%.*s': %s", node, (int)MIN(named.len, 300u), path, why(&r, rep->error));
}

static void send_to(struct import *im, struct image_node *n, u32 len)
{
	struct sd_image_put_rep rep = {0};
	s32 status = sync_client_call(n->line, OP_SD_IMAGE_PUT, NULL, 0, im->buf, len, &rep, sizeof(rep), NULL, NULL, NULL, NULL, 0);
	n->failed = status || rep.error;
	if (status)
		cli_error("image: storage node %s: %s", n->name, cli_status_text(status));
	else if (rep.error)
		say_which(im, n->name, &rep, len);
}

static bool somebody_left(const struct image_nodes *nodes)
{
	for (u32 i = 0; i < nodes->n; i++)
		if (!nodes->node[i].failed)
			return true;
	return false;
}

static void progress(struct import *im, bool last)
{
	char size[16];
	u64 now = spawn_now_ms();
	if (!im->tty || (!last && now - im->shown_ms < PROGRESS_EVERY_MS))
		return;
	im->shown_ms = now;
	fprintf(stderr, "\r\033[K");
	if (!last)
		fprintf(stderr, "image %s: %llu names, %s", im->name, (unsigned long long)im->names, cli_show_size(size, im->bytes));
	fflush(stderr);
}

/* How much of buf is one batch of whole records; counts them. */
static u32 batch(struct import *im)
{
	u32 len = 0;
	for (u32 n = 0; n < IMAGE_PUT_RECORDS && im->have - len >= sizeof(struct image_rec); n++) {
		struct image_rec r = rec_at(im->buf + len);
		u64 whole = rec_len(im->buf + len);
		if (r.kind == IMAGE_END) {
			im->ended = true;
			im->layers = (u32)r.size;
			break;
		}
		if (whole > im->have - len)
			break;
		len += (u32)whole;
		im->names += r.len && r.kind != IMAGE_DIR_SET && r.kind != IMAGE_GONE && r.kind != IMAGE_CLEAR;
		im->bytes += r.kind == IMAGE_DATA ? r.len2 : 0;
	}
	return len;
}

static void send_batch(struct import *im, u32 len)
{
	for (u32 i = 0; i < im->nodes->n; i++)
		if (!im->nodes->node[i].failed)
			send_to(im, &im->nodes->node[i], len);
	memmove(im->buf, im->buf + len, im->have - len);
	im->have -= len;
	progress(im, false);
}

/* Until the reader's end. False: it did not say that nothing is missing, or no node is left. */
static bool pass_on(struct import *im)
{
	for (;;) {
		ssize_t n = im->have < sizeof(im->buf) ? read(im->from, im->buf + im->have, sizeof(im->buf) - im->have) : 1;
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		im->have += im->have < sizeof(im->buf) ? (u32)n : 0;
		for (u32 len; (len = batch(im));)
			send_batch(im, len);
		if (im->ended || !somebody_left(im->nodes) || im->have == sizeof(im->buf))
			return im->ended;
	}
}

/* ---- beginning and end at the nodes */

static void tell(const struct import *im, struct image_node *n, u32 what)
{
	struct sd_image_req req = {.what = what, .layers = im->layers};
	memcpy(req.name, im->name, strlen(im->name));
	s32 status = sync_client_call(n->line, OP_SD_IMAGE, &req, sizeof(req), NULL, 0, NULL, 0, NULL, NULL, NULL, NULL, COMMIT_MS);
	n->failed = status;
	if (status == -EEXIST)
		cli_error("image: storage node %s has an image '%s' already (lego image rm %s)", n->name, im->name, im->name);
	else if (status == -EBUSY)
		cli_error("image: storage node %s is busy with other imports: try again later", n->name);
	else if (status)
		cli_error("image: storage node %s: %s", n->name, cli_status_text(status));
}

static void tell_all(struct import *im, u32 what)
{
	for (u32 i = 0; i < im->nodes->n; i++)
		if (!im->nodes->node[i].failed)
			tell(im, &im->nodes->node[i], what);
}

static int say_done(const struct import *im)
{
	char size[16];
	int rc = CLI_OK;
	printf("image %s: %llu names, %s, %u layer%s, on", im->name, (unsigned long long)im->names, cli_show_size(size, im->bytes), im->layers,
	       im->layers == 1 ? "" : "s");
	for (u32 i = 0; i < im->nodes->n; i++) {
		if (im->nodes->node[i].failed)
			rc = CLI_FAILED;
		else
			printf(" %s", im->nodes->node[i].name);
	}
	return putchar('\n') == EOF || fflush(stdout) ? CLI_FAILED : rc;
}

int image_import(struct image_nodes *nodes, const char *name, const char *source, const char *ref)
{
	static struct import im;
	im = (struct import){.nodes = nodes, .name = name, .tty = isatty(STDERR_FILENO)};
	tell_all(&im, IMAGE_BEGIN);
	if (!somebody_left(nodes))
		return CLI_FAILED;
	pid_t reader = start_reader(source, ref, &im.from);
	if (reader < 0)
		return CLI_FAILED;
	bool all = pass_on(&im);
	progress(&im, true);
	close(im.from);
	if (!reader_ended_well(reader) || !all)
		return CLI_FAILED;
	tell_all(&im, IMAGE_COMMIT);
	return somebody_left(nodes) ? say_done(&im) : CLI_FAILED;
}
