/* SETATTR: mode, owner, size and times, by path or by file id. */
#include "storage/slots.h"

/* A whole handle instead of an id: whoever has it opened the file for writing, whatever its mode is now. */
static bool may_by_handle(struct req *r)
{
	const struct sd_setattr_req *q = r->m->fixed;
	struct file_ref h;
	if (!(q->flags & SDP_BY_ID) || q->len != sizeof(h))
		return false;
	memcpy(&h, r->m->data, sizeof(h));
	return h.vnode == r->conn->vnode && h.rights & FILE_W && handle_ok(r->sd, &h);
}

static int check_size(struct req *r, const struct loc *l)
{
	const struct sd_setattr_req *q = r->m->fixed;
	if (!(q->mask & SDA_SIZE))
		return 0;
	if (!S_ISREG(l->attr.mode))
		return is_dir(l) ? -EISDIR : -EINVAL;
	return q->size > INT64_MAX ? -EINVAL : may_by_handle(r) ? 0 : may(r, l, 2);
}

static int check_owner(struct req *r, const struct loc *l)
{
	const struct sd_setattr_req *q = r->m->fixed;
	const struct cred *c = &r->cred;
	bool owner = c->uid == l->attr.uid;
	if (!c->check)
		return 0;
	const u32 touch = SDA_ATIME_NOW | SDA_MTIME_NOW;
	if (q->mask & SDA_UID && !(owner && q->uid == l->attr.uid))
		return -EPERM;
	if (q->mask & SDA_GID && !(owner && (q->gid == l->attr.gid || in_group(c, q->gid))))
		return -EPERM;
	if (q->mask & (SDA_MODE | SDA_ATIME | SDA_MTIME) && !owner)
		return -EPERM;
	if (!(q->mask & touch) || owner)
		return 0;
	return (q->mask & touch) == touch ? may(r, l, 2) : -EPERM;
}

static int check(struct req *r, const struct loc *l)
{
	const struct sd_setattr_req *q = r->m->fixed;
	if (q->mask & ~255u)
		return -EINVAL;
	if (q->mask & SDA_MODE && S_ISLNK(l->attr.mode))
		return -EOPNOTSUPP;
	if (!l->nameless && loc_readonly(r->vn, l))
		return -EROFS;
	int rc = check_size(r, l);
	return rc ? rc : check_owner(r, l);
}

static s64 time_of(u32 mask, u32 now_bit, u32 set_bit, s64 ns)
{
	if (mask & now_bit)
		return HF_TIME_NOW;
	return mask & set_bit && ns != HF_TIME_NOW && ns != HF_TIME_OMIT ? ns : HF_TIME_OMIT;
}

static int resize(struct req *r, const struct file_id *id, u64 size)
{
	int fd = object_fd(r->sd, r->vn, id, true);
	int rc = fd < 0 ? fd : hf_truncate(fd, size);
	if (!rc)
		drop_suid(r, fd);
	return rc;
}

static int apply(struct req *r, const struct loc *l, const struct file_id *id)
{
	const struct sd_setattr_req *q = r->m->fixed;
	u32 mask = q->mask, mode = q->mode & 07777;
	int rc = mask & SDA_SIZE ? resize(r, id, q->size) : 0;
	if (!rc && (mask & (SDA_UID | SDA_GID) || !mask)) /* chown to nobody new: the change time moves */
		rc = hf_chown(l->fd, mask & SDA_UID ? q->uid : ~0u, mask & SDA_GID ? q->gid : ~0u);
	if (r->cred.check && !in_group(&r->cred, l->attr.gid))
		mode &= ~(u32)S_ISGID;
	if (!rc && mask & SDA_MODE)
		rc = hf_chmod(l->fd, mode);
	s64 atime = time_of(mask, SDA_ATIME_NOW, SDA_ATIME, q->atime_ns), mtime = time_of(mask, SDA_MTIME_NOW, SDA_MTIME, q->mtime_ns);
	if (!rc && (atime != HF_TIME_OMIT || mtime != HF_TIME_OMIT))
		rc = hf_utimens(l->fd, atime, mtime);
	return rc;
}

/* The object to be changed is in a layer that may be written; its id. */
static int ready(struct req *r, struct loc *l, struct file_id *id)
{
	const struct sd_setattr_req *q = r->m->fixed;
	bool data = !(q->mask & SDA_SIZE && !q->size);
	int rc = id_of_loc(r->sd, r->vn, l, id);
	if (rc)
		return rc;
	if (l->nameless)
		return orphans_has(r->sd, id) ? 0 : -EROFS;
	if (l->layer != LAYER_LOWER)
		return 0;
	rc = copy_up(r->sd, r->vn, l, data);
	return rc ? rc : id_of_loc(r->sd, r->vn, l, id);
}

/* Of a regular file that is open here for writing: it lies where it may be written, and nothing needs to be looked for. Who is not checked
 * and wants no attributes costs the host only the change itself. */
static bool setattr_open(struct req *r, const u8 *id_bytes)
{
	static const struct sd_open_rep nothing;
	const struct sd_setattr_req *q = r->m->fixed;
	struct sd *sd = r->sd;
	struct loc *l = &sd->a;
	struct file_id id;
	memcpy(&id, id_bytes, sizeof(id));
	int fd = object_cached(sd, &id, true);
	bool only_status = q->flags & SDP_STATUS;
	if (fd < 0 || !loc_of_open(r, &id, r->cred.check || !only_status ? fd : -1, l))
		return false;
	l->fd = fd;
	int rc = check(r, l);
	if (!rc)
		rc = apply(r, l, &id);
	if (!rc)
		object_wrote(sd, &id);
	if (!rc && !only_status)
		rc = hf_stat(fd, &l->attr);
	l->fd = -1; /* the cache's */
	if (rc)
		sd_fail(r, rc, NULL);
	else if (only_status)
		sd_reply(r, 0, &nothing, NULL, 0);
	else
		reply_open(r, l, &id, 0, false, 0);
	return true;
}

void op_setattr(struct req *r)
{
	const struct sd_setattr_req *q = r->m->fixed;
	struct loc *l = &r->sd->a;
	struct file_id id;
	if (q->len != r->m->data_len) {
		sd_fail(r, -WIRE_BAD_MESSAGE, NULL);
		return;
	}
	take_cred_of(r, q->by_uid, q->by_gid);
	bool handle = q->flags & SDP_BY_ID && q->len == sizeof(struct file_ref);
	if (q->flags & SDP_BY_ID && q->len >= sizeof(id) && setattr_open(r, r->m->data))
		return;
	int rc = locate(r, (const char *)r->m->data, handle ? sizeof(struct file_id) : q->len, q->flags, l);
	if (!rc)
		rc = check(r, l);
	if (!rc)
		rc = ready(r, l, &id);
	if (!rc)
		rc = apply(r, l, &id);
	if (!rc) {
		object_wrote(r->sd, &id);
		rc = hf_stat(l->fd, &l->attr);
	}
	if (rc)
		sd_fail(r, rc, l);
	else
		reply_open(r, l, NULL, 0, false, 0);
	loc_close(l);
}
