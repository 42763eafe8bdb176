/* Requests by handle: READ, WRITE, FSYNC, FALLOCATE, SEEK, GETATTR. A handle speaks for itself: its MAC says that this sd gave it out,
 * with these rights, in this vNode. So any of them may be the first request after a restart. */
#include "storage/slots.h"

#include <unistd.h>

const struct sd_io_req *take_handle(struct req *r, u32 rights, struct file_id *id)
{
	const struct sd_io_req *q = r->m->fixed;
	bool own = r->conn->role == ROLE_COMPONENT || q->file.vnode == r->conn->vnode;
	if (!own || !handle_ok(r->sd, &q->file)) {
		/* a memory node hands on what its processes name: that is not its fault */
		sd_fail(r, r->conn->role == ROLE_COMPONENT ? -EBADF : -WIRE_UNAUTHORISED, NULL);
		return NULL;
	}
	if ((q->file.rights & rights) != rights) {
		sd_fail(r, -EBADF, NULL);
		return NULL;
	}
	r->vn = sd_vnode(r->sd, q->file.vnode);
	if (!r->vn) {
		sd_fail(r, -ENODEV, NULL);
		return NULL;
	}
	*id = (struct file_id){{q->file.id[0], q->file.id[1]}};
	return q;
}

void reply_io(struct req *r, const struct file_id *id, int fd, struct sd_io_rep *rep, const void *data, u32 len)
{
	struct hf_attr a;
	int rc = hf_stat(fd, &a);
	rep->size = a.size;
	rep->change = rc ? 0 : object_change(r->sd, id, &a, NULL);
	rep->verifier = r->sd->verifier;
	sd_reply(r, rc, rc ? NULL : rep, data, rc ? 0 : len);
}

void reply_read(struct req *r, const struct file_id *id, int fd, struct sd_io_rep *rep, const void *data, u32 len, bool may_lease)
{
	const struct sd_io_req *q = r->m->fixed;
	struct hf_attr a;
	int rc = hf_stat(fd, &a);
	rep->size = a.size;
	rep->change = rc ? 0 : object_change(r->sd, id, &a, NULL);
	if (!(q->flags & SDIO_LEASE))
		rep->verifier = r->sd->verifier;
	else
		rep->verifier = may_lease ? leases_grant(r, id) : 0;
	sd_reply(r, rc, rc ? NULL : rep, data, rc ? 0 : len);
}

static bool in_range(u64 off, u64 len)
{
	return off <= INT64_MAX && len <= INT64_MAX - off;
}

void op_read(struct req *r)
{
	struct file_id id;
	const struct sd_io_req *q = take_handle(r, FILE_R, &id);
	if (!q)
		return;
	u64 len = MIN(q->len, sizeof(r->sd->data));
	int fd = in_range(q->off, len) ? object_fd(r->sd, r->vn, &id, false) : -EINVAL;
	s64 n = fd < 0 ? fd : hf_pread_now(fd, r->sd->data, len, q->off);
	if (n == -EAGAIN && later_read(r, &id, fd, q->off, len))
		return;
	if (n == -EAGAIN)
		n = hf_pread(fd, r->sd->data, len, q->off);
	if (n < 0) {
		sd_fail(r, (s32)n, NULL);
		return;
	}
	struct sd_io_rep rep = {.n = (u64)n, .end = q->off + (u64)n};
	reply_read(r, &id, fd, &rep, r->sd->data, (u32)n, true);
}

/* What a write by somebody else than root does to a program's borrowed authority. */
void drop_suid(struct req *r, int fd)
{
	struct hf_attr a;
	if (!r->cred.check || hf_stat(fd, &a) || !(a.mode & (S_ISUID | S_ISGID)))
		return;
	u32 drop = S_ISUID | (a.mode & S_IXGRP || !in_group(&r->cred, a.gid) ? S_ISGID : 0);
	hf_chmod(fd, a.mode & 07777 & ~drop);
}

/* Writes, and syncs what was written when that is asked for and short; *later: it is still to be synced. */
static s64 put(struct req *r, const struct sd_io_req *q, const struct file_id *id, int fd, u64 off, bool *later)
{
	struct sd *sd = r->sd;
	bool append = q->flags & SDIO_APPEND, sync = q->flags & SDIO_SYNC;
	later_wrote(sd, id, q->len);
	*later = sync && later_expected(sd, id);
	u64 start = sync ? sd->env->now_ns(sd->env->ctx) : 0;
	s64 n = hf_pwrite(fd, r->m->data, q->len, off, append, sync && !*later);
	if (sync && !*later)
		later_took(sd, start);
	object_wrote(sd, id);
	return n;
}

static void write_at(struct req *r, const struct sd_io_req *q, const struct file_id *id, int fd)
{
	struct hf_attr a;
	bool append = q->flags & SDIO_APPEND, later = false;
	int rc = append ? hf_stat(fd, &a) : 0;
	if (append && !rc)
		slots_intent(r, id, a.size, q->len);
	if (!rc)
		rc = quota_write(r->sd, r->vn, id, fd, append ? a.size : q->off, q->len);
	s64 n = rc ? rc : put(r, q, id, fd, append ? a.size : q->off, &later);
	if (n < 0) {
		sd_fail(r, (s32)n, NULL);
		return;
	}
	drop_suid(r, fd);
	struct sd_io_rep rep = {.n = (u64)n, .end = q->off + (u64)n};
	if (append && !hf_stat(fd, &a))
		rep.end = a.size;
	if (later && later_sync(r, id, fd, true, &rep))
		return;
	rc = later ? sync_now(r->sd, fd, true) : 0;
	if (rc)
		sd_fail(r, rc, NULL);
	else if (q->flags & SDIO_POSTED) /* who went on asks nothing more of it */
		sd_reply(r, 0, &rep, NULL, 0);
	else
		reply_io(r, id, fd, &rep, NULL, 0);
}

void op_write(struct req *r)
{
	struct file_id id;
	const struct sd_io_req *q = take_handle(r, FILE_W, &id);
	if (!q)
		return;
	if (q->len != r->m->data_len || q->flags & ~(u32)(SDIO_APPEND | SDIO_SYNC | SDIO_POSTED)) {
		sd_fail(r, -WIRE_BAD_MESSAGE, NULL);
		return;
	}
	take_cred_of(r, q->uid, r->cred.gid);
	int fd = in_range(q->off, q->len) ? object_fd(r->sd, r->vn, &id, true) : -EINVAL;
	if (fd < 0)
		sd_fail(r, fd, NULL);
	else
		write_at(r, q, &id, fd);
}

/* The directory of the upper or of a bind; of one that is only in the lower nothing was written. */
static void sync_dir(struct req *r, const struct file_id *id, bool data_only, const struct sd_io_rep *rep)
{
	struct loc *l = &r->sd->a;
	int rc = object_loc(r->sd, r->vn, id, l), fd = -1;
	if (!rc && l->layer != LAYER_LOWER && is_dir(l))
		rc = fd = hf_open(l->fd, ".", O_RDONLY | O_DIRECTORY, 0);
	loc_close(l);
	if (fd < 0 || !later_expected(r->sd, id) || !later_sync(r, id, fd, data_only, rep)) {
		rc = fd < 0 ? rc : sync_now(r->sd, fd, data_only);
		sd_reply(r, rc, rc ? NULL : rep, NULL, 0);
	}
	hf_close(fd);
}

/* Everything written to the file systems of the vNode that the object may lie on. */
static void sync_fs(struct req *r, const struct file_id *id, const struct sd_io_rep *rep)
{
	struct loc *l = &r->sd->a;
	int rc = locate_id(r, id, l);
	bool bind = !rc && l->layer == LAYER_BIND && !l->nameless;
	int dir = bind ? r->vn->bind[l->bind].fd : r->vn->upper;
	int fd = rc ? rc : hf_open(dir, ".", O_RDONLY | O_DIRECTORY, 0);
	loc_close(l);
	if (fd < 0 || !later_syncfs(r, id, fd, rep)) {
		rc = fd < 0 ? fd : hf_syncfs(fd);
		sd_reply(r, rc, rc ? NULL : rep, NULL, 0);
	}
	hf_close(fd);
}

void op_fsync(struct req *r)
{
	struct file_id id;
	struct sd_io_rep rep = {.verifier = r->sd->verifier};
	const struct sd_io_req *q = take_handle(r, 0, &id);
	if (!q)
		return;
	if (q->flags & SDF_FS) {
		sync_fs(r, &id, &rep);
		return;
	}
	bool data_only = q->flags & SDF_DATA;
	int fd = object_fd(r->sd, r->vn, &id, q->file.rights & FILE_W);
	if (fd >= 0 && later_expected(r->sd, &id) && later_sync(r, &id, fd, data_only, &rep))
		return;
	if (fd == -EISDIR) {
		sync_dir(r, &id, data_only, &rep);
		return;
	}
	int rc = fd < 0 ? fd : sync_now(r->sd, fd, data_only);
	if (rc)
		sd_fail(r, rc, NULL);
	else
		reply_io(r, &id, fd, &rep, NULL, 0);
}

void op_fallocate(struct req *r)
{
	struct file_id id;
	struct sd_io_rep rep = {0};
	const struct sd_io_req *q = take_handle(r, FILE_W, &id);
	if (!q)
		return;
	int fd = in_range(q->off, q->len) ? object_fd(r->sd, r->vn, &id, true) : -EINVAL;
	int rc = fd < 0 ? fd : q->flags & ~1u ? 0 : quota_write(r->sd, r->vn, &id, fd, q->off, q->len); /* KEEP_SIZE or none: it allocates */
	rc = rc ? rc : hf_fallocate(fd, (int)q->flags, q->off, q->len);
	object_wrote(r->sd, &id);
	if (rc)
		sd_fail(r, rc, NULL);
	else
		reply_io(r, &id, fd, &rep, NULL, 0);
}

void op_seek(struct req *r)
{
	struct file_id id;
	const struct sd_io_req *q = take_handle(r, 0, &id);
	if (!q)
		return;
	bool known = q->flags == SEEK_DATA || q->flags == SEEK_HOLE;
	int fd = known && in_range(q->off, 0) ? object_fd(r->sd, r->vn, &id, false) : -EINVAL;
	s64 at = fd < 0 ? fd : hf_seek(fd, q->off, (int)q->flags);
	struct sd_io_rep rep = {.n = (u64)at};
	if (at < 0)
		sd_fail(r, (s32)at, NULL);
	else
		reply_io(r, &id, fd, &rep, NULL, 0);
}

bool loc_of_open(struct req *r, const struct file_id *id, int fd, struct loc *l)
{
	struct sd *sd = r->sd;
	loc_init(l);
	l->attr = (struct hf_attr){.mode = S_IFREG};
	if (fd >= 0 && hf_stat(fd, &l->attr))
		return false;
	l->exists = true;
	l->nameless = orphans_has(sd, id) || !ids_get(sd, r->vn, id, l->path, &l->len);
	int b = l->nameless ? -1 : vnode_bind_of(r->vn, l->path, l->len);
	l->layer = b >= 0 ? LAYER_BIND : LAYER_UPPER;
	l->bind = b >= 0 ? (u32)b : 0;
	return true;
}

/* An open regular file: by its fd, its path as far as it is remembered. */
static bool getattr_open(struct req *r, const struct file_id *id)
{
	struct loc *l = &r->sd->a;
	int fd = object_fd(r->sd, r->vn, id, false);
	if (fd < 0 || !loc_of_open(r, id, fd, l))
		return false;
	reply_open(r, l, id, 0, false, 0);
	return true;
}

void op_getattr(struct req *r)
{
	struct file_id id;
	struct loc *l = &r->sd->a;
	if (!take_handle(r, 0, &id) || getattr_open(r, &id))
		return;
	int rc = locate_id(r, &id, l);
	if (rc)
		sd_fail(r, rc, NULL);
	else
		reply_open(r, l, NULL, 0, false, 0);
	loc_close(l);
}
