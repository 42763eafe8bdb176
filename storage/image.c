/* Images: read-only trees in the data directory that vNodes are made over (a vNode whose lower is the image's name; vnode.c). Their requests,
 * which come from command lines, and their life on disk. What a record of one means is image_tree.c's.
 *
 *   images/NAME/root    the tree           images/NAME/info    its size, layers and time
 *   images/#<random>    one that is being made, or one that is going: nobody's business; emptied at the next start
 *
 * An import is made under a name that no image can have and belongs to its connection; the last step is one rename, after everything below is on
 * disk. So an image is there whole or not at all, whoever dies when. Removing is one rename the other way.
 *
 * All that touches the disk much is done beside the daemon's thread where the driver has a place for it (env->defer): one job a connection at a
 * time, which owns the import's tree meanwhile (busy). */
#include <stdio.h>
#include <stdlib.h>

#include "base/crc.h"
#include "storage/image_tree.h"
#include "storage/sd_int.h"

#define IMAGES_MAX  (MSG_MAX_DATA / (u32)sizeof(struct image_info))
#define INFO_MAGIC  0x31494d4cu /* "LMI1" */
#define TEMP_LEN    24
#define IMPORTS_MAX 16u
#define SWEEP_NAMES 1000u /* removed in one job: the end of the daemon waits for it */

struct info_file {
	u32 magic, crc; /* of what follows */
	struct image_info info;
};

struct import {
	struct import *next;
	conn_id conn;
	char name[WIRE_NAME_MAX], temp[TEMP_LEN];
	int dir; /* images/temp */
	struct image_tree tree;
	s32 error; /* not 0: it is over */
	bool busy; /* a job has dir and tree */
	bool dead; /* its connection ended: to be dropped after the job */
};

struct images {
	int dir;
	struct import *imports;
};

enum job_kind { JOB_PUT, JOB_COMMIT, JOB_SWEEP };

struct image_job {
	struct node_job job;
	enum job_kind kind;
	struct sd *sd;
	struct import *im; /* of PUT and COMMIT */
	struct conn conn;  /* a copy: the connection may go meanwhile */
	struct msg m;
	int dir; /* images, its own descriptor; COMMIT, SWEEP */
	struct image_info info;
	char temp[TEMP_LEN];
	s32 error;
	u32 done, len;
	u8 data[];
};

bool image_name_ok(const char *name)
{
	static const char chars[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
	size_t len = strnlen(name, WIRE_NAME_MAX);
	return len && len < WIRE_NAME_MAX && name[0] != '.' && strspn(name, chars) == len;
}

int image_open_root(struct sd *sd, const char *name)
{
	char path[WIRE_NAME_MAX + 8];
	if (!image_name_ok(name))
		return -EINVAL;
	snprintf(path, sizeof(path), "%s/root", name);
	return hf_open(sd->images->dir, path, O_PATH | O_DIRECTORY | O_NOFOLLOW, 0);
}

/* ---- jobs: host calls on what is in j */

static int write_info(int dir, const struct image_info *info)
{
	struct info_file f = {.magic = INFO_MAGIC, .crc = crc32c(0, info, sizeof(*info)), .info = *info};
	int fd = hf_create(dir, "info", O_WRONLY, 0600);
	s64 n = fd < 0 ? fd : hf_pwrite(fd, &f, sizeof(f), 0, false, false);
	hf_close(fd);
	return n < 0 ? (int)n : n == sizeof(f) ? 0 : -ENOSPC;
}

static int commit(struct image_job *j)
{
	struct import *im = j->im;
	int fd = hf_open(im->dir, "root", O_RDONLY | O_DIRECTORY, 0);
	int rc = fd < 0 ? fd : image_complete(&im->tree);
	if (!rc)
		rc = image_measure(fd, &j->info.files, &j->info.bytes);
	hf_close(fd);
	if (!rc)
		rc = write_info(im->dir, &j->info);
	int sync = rc ? rc : hf_open(im->dir, "info", O_RDONLY, 0);
	if (!rc)
		rc = sync < 0 ? sync : hf_syncfs(sync);
	hf_close(sync);
	if (!rc)
		rc = hf_rename(j->dir, im->temp, j->dir, im->name, RENAME_NOREPLACE);
	return rc ? rc : hf_fsync(j->dir, false);
}

static void run(struct node_job *job)
{
	struct image_job *j = (struct image_job *)job;
	switch (j->kind) {
	case JOB_PUT:
		j->error = image_apply(&j->im->tree, j->data, j->len, &j->done);
		break;
	case JOB_COMMIT:
		j->error = commit(j);
		break;
	case JOB_SWEEP:
		j->error = hf_remove_some(j->dir, j->temp, SWEEP_NAMES);
		break;
	}
}

/* ---- their ends */

static void import_free(struct import *im)
{
	hf_close(im->tree.last.fd);
	hf_close(im->tree.root);
	hf_close(im->dir);
	free(im);
}

static void sweep(struct sd *sd, const char *temp);

/* Forgets an import; what it made goes (nothing is there any more under that name when it was committed). */
static void import_drop(struct sd *sd, struct import *im)
{
	struct import **p = &sd->images->imports;
	while (*p != im)
		p = &(*p)->next;
	*p = im->next;
	sweep(sd, im->temp);
	import_free(im);
}

static void answer(struct sd *sd, const struct image_job *j)
{
	struct req r = {.sd = sd, .conn = &j->conn, .m = &j->m, .row = op_row(j->m.hdr.op)};
	struct sd_image_put_rep rep = {j->done, j->error};
	if (j->kind == JOB_PUT)
		sd_reply(&r, 0, &rep, NULL, 0);
	else
		sd_fail(&r, j->error, NULL);
}

static void start_job(struct sd *sd, struct image_job *j);

static void done(void *self, struct node_job *job)
{
	struct image_job *j = (struct image_job *)job;
	struct sd *sd = self;
	struct import *im = j->im;
	if (sd && j->kind == JOB_SWEEP && j->error == -EAGAIN) {
		start_job(sd, j);
		return;
	}
	if (im)
		im->busy = false;
	if (sd && im) {
		im->error = j->error;
		if (j->kind == JOB_COMMIT && !j->error)
			sd->env->log(sd->env->ctx, LOG_INFO, "image %s is here", im->name);
		if (sd_knows(sd, j->conn.id))
			answer(sd, j);
		if (im->dead || im->error || j->kind == JOB_COMMIT)
			import_drop(sd, im);
	} else if (sd && j->error && j->error != -ENOENT) {
		sd->env->log(sd->env->ctx, LOG_WARN, "images/%s cannot be removed: %s", j->temp, strerror(-j->error));
	}
	hf_close(j->dir);
	free(j);
}

static void start_job(struct sd *sd, struct image_job *j)
{
	if (j->im)
		j->im->busy = true;
	if (sd->env->defer && sd->env->defer(sd->env->ctx, &j->job))
		return;
	run(&j->job);
	done(sd, &j->job);
}

static struct image_job *job_new(struct sd *sd, enum job_kind kind, u32 room)
{
	struct image_job *j = malloc(sizeof(*j) + room);
	int dir = !j ? -1 : kind == JOB_PUT ? -1 : hf_dup(sd->images->dir);
	if (!j || (kind != JOB_PUT && dir < 0)) {
		free(j);
		return NULL;
	}
	*j = (struct image_job){.job = {.run = run, .done = done}, .kind = kind, .sd = sd, .dir = dir, .len = room};
	return j;
}

/* Without memory or descriptors for it: the next start does it. */
static void sweep(struct sd *sd, const char *temp)
{
	struct image_job *j = job_new(sd, JOB_SWEEP, 0);
	if (!j)
		return;
	memcpy(j->temp, temp, TEMP_LEN);
	start_job(sd, j);
}

static bool begin_job(struct req *r, struct import *im, enum job_kind kind)
{
	struct image_job *j = job_new(r->sd, kind, r->m->data_len);
	if (!j)
		return false;
	j->im = im;
	j->conn = *r->conn;
	j->conn.groups = NULL;
	j->m = *r->m;
	j->m.fixed = NULL;
	j->m.data = NULL;
	if (j->len)
		memcpy(j->data, r->m->data, j->len);
	if (kind == JOB_COMMIT) {
		const struct sd_image_req *q = r->m->fixed;
		memcpy(j->info.name, im->name, sizeof(im->name));
		j->info.layers = q->layers;
		j->info.made_ns = r->sd->env->wall_ns(r->sd->env->ctx);
	}
	r->replied = true; /* it will be, or was */
	start_job(r->sd, j);
	return true;
}

/* ---- requests */

static struct import *import_of(struct sd *sd, conn_id c)
{
	struct import *im = sd->images->imports;
	while (im && im->conn != c)
		im = im->next;
	return im;
}

static u32 import_count(const struct sd *sd)
{
	u32 n = 0;
	for (const struct import *im = sd->images->imports; im; im = im->next)
		n++;
	return n;
}

static void temp_name(struct sd *sd, char temp[TEMP_LEN])
{
	u64 n;
	sd->env->random(sd->env->ctx, &n, sizeof(n));
	snprintf(temp, TEMP_LEN, "#%016llx", (unsigned long long)n);
}

static int open_new(struct sd *sd, struct import *im)
{
	temp_name(sd, im->temp);
	int rc = hf_mkdir(sd->images->dir, im->temp, 0700);
	if (rc)
		return rc;
	im->dir = hf_open(sd->images->dir, im->temp, O_PATH | O_DIRECTORY, 0);
	rc = im->dir < 0 ? im->dir : hf_mkdir(im->dir, "root", 0755);
	if (!rc)
		im->tree.root = hf_open(im->dir, "root", O_PATH | O_DIRECTORY, 0);
	return rc ? rc : MIN(im->tree.root, 0);
}

static int begin(struct sd *sd, conn_id c, const char *name)
{
	int there = image_open_root(sd, name);
	hf_close(there);
	if (there != -ENOENT)
		return there < 0 ? there : -EEXIST;
	if (import_of(sd, c) || import_count(sd) == IMPORTS_MAX)
		return -EBUSY;
	struct import *im = calloc(1, sizeof(*im));
	if (!im)
		return -ENOMEM;
	im->conn = c;
	im->dir = im->tree.root = im->tree.last.fd = -1;
	im->tree.owners = !sd->euid;
	memcpy(im->name, name, strlen(name));
	im->next = sd->images->imports;
	sd->images->imports = im;
	int rc = open_new(sd, im);
	if (rc)
		import_drop(sd, im);
	return rc;
}

static bool busy(struct sd *sd, const char *name)
{
	for (const struct vnode *vn = sd->vnodes; vn; vn = vn->next)
		if (vn->lower_host && !strcmp(vn->lower_host, name) && sd_vnode_in_use(sd, vn->id))
			return true;
	return false;
}

static int remove_image(struct sd *sd, const char *name)
{
	char temp[TEMP_LEN];
	if (busy(sd, name))
		return -EBUSY;
	temp_name(sd, temp);
	int rc = hf_rename(sd->images->dir, name, sd->images->dir, temp, RENAME_NOREPLACE);
	if (rc)
		return rc;
	sd->env->log(sd->env->ctx, LOG_INFO, "image %s removed", name);
	sweep(sd, temp);
	return 0;
}

void op_image(struct req *r)
{
	const struct sd_image_req *q = r->m->fixed;
	struct import *im = import_of(r->sd, r->conn->id);
	int rc = -WIRE_BAD_MESSAGE;
	if (!memchr(q->name, 0, sizeof(q->name)) || !image_name_ok(q->name)) {
		sd_fail(r, -EINVAL, NULL);
		return;
	}
	if (q->what == IMAGE_BEGIN)
		rc = begin(r->sd, r->conn->id, q->name);
	else if (q->what == IMAGE_REMOVE)
		rc = remove_image(r->sd, q->name);
	else if (q->what == IMAGE_COMMIT)
		rc = !im || strcmp(im->name, q->name) ? -ENOENT : im->busy ? -EBUSY : begin_job(r, im, JOB_COMMIT) ? 0 : -ENOMEM;
	if (!r->replied)
		sd_fail(r, rc, NULL);
}

void op_image_put(struct req *r)
{
	struct import *im = import_of(r->sd, r->conn->id);
	if (!im || im->busy)
		sd_fail(r, im ? -EBUSY : -ENOENT, NULL);
	else if (!begin_job(r, im, JOB_PUT))
		sd_fail(r, -ENOMEM, NULL);
}

/* ---- what is there */

static bool read_info(struct sd *sd, const char *name, struct image_info *out)
{
	char path[WIRE_NAME_MAX + 8];
	struct info_file f = {0};
	snprintf(path, sizeof(path), "%s/info", name);
	int fd = hf_open(sd->images->dir, path, O_RDONLY | O_NOFOLLOW, 0);
	s64 n = fd < 0 ? fd : hf_pread(fd, &f, sizeof(f), 0);
	hf_close(fd);
	if (n != sizeof(f) || f.magic != INFO_MAGIC || f.crc != crc32c(0, &f.info, sizeof(f.info)))
		f.info = (struct image_info){0};
	*out = f.info;
	memset(out->name, 0, sizeof(out->name));
	memcpy(out->name, name, strlen(name));
	out->busy = busy(sd, name);
	return n >= 0;
}

/* Calls each for every name in the directory of images. */
static int each_name(struct sd *sd, void (*each)(struct sd *sd, const char *name, void *arg), void *arg)
{
	struct hf_names it = {.fd = hf_open(sd->images->dir, ".", O_RDONLY | O_DIRECTORY, 0)};
	const struct dent *d;
	if (it.fd < 0)
		return it.fd;
	while ((d = hf_next(&it)))
		each(sd, d->name, arg);
	hf_close(it.fd);
	return it.error;
}

static void list_one(struct sd *sd, const char *name, void *arg)
{
	u32 *n = arg;
	struct image_info info;
	if (*n == IMAGES_MAX || !image_name_ok(name) || !read_info(sd, name, &info))
		return;
	memcpy(sd->data + *n * sizeof(info), &info, sizeof(info));
	++*n;
}

void op_image_list(struct req *r)
{
	u32 n = 0;
	int rc = each_name(r->sd, list_one, &n);
	sd_reply(r, rc, NULL, r->sd->data, rc ? 0 : n * (u32)sizeof(struct image_info));
}

/* ---- life */

void images_conn_closed(struct sd *sd, conn_id c)
{
	struct import *im = import_of(sd, c);
	if (im && im->busy)
		im->dead = true;
	else if (im)
		import_drop(sd, im);
}

static void sweep_one(struct sd *sd, const char *name, void *arg)
{
	char temp[TEMP_LEN] = "";
	if (name[0] != '#' || strlen(name) >= TEMP_LEN)
		return;
	memcpy(temp, name, strlen(name));
	sweep(sd, temp);
}

int images_open(struct sd *sd)
{
	sd->images = calloc(1, sizeof(*sd->images));
	if (!sd->images)
		return -ENOMEM;
	int rc = hf_mkdir(sd->data_fd, "images", 0700);
	sd->images->dir = rc && rc != -EEXIST ? rc : hf_open(sd->data_fd, "images", O_RDONLY | O_DIRECTORY, 0);
	return sd->images->dir < 0 ? sd->images->dir : each_name(sd, sweep_one, NULL);
}

/* No job runs any more: the driver ended them. What is unfinished goes at the next start. */
void images_close(struct sd *sd)
{
	if (!sd->images)
		return;
	while (sd->images->imports) {
		struct import *im = sd->images->imports;
		sd->images->imports = im->next;
		import_free(im);
	}
	hf_close(sd->images->dir);
	free(sd->images);
}
