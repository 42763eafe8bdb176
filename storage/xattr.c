/* Extended attributes: the host's, of the object in the layer that shows it. A change in the lower copies up first.
 *
 * Permissions are checked here where the host does not know the user. "trusted." is root's; "system." (access lists) is refused: lists
 * that nobody checks would be worse than none. Attributes of this node's own ("*.lego.") are not there for programs. */
#include <sys/xattr.h>

#include "storage/slots.h"

#define VALUE_CAP 65536u
#define LIST_CAP  65536u

struct xattr {
	const struct sd_xattr_req *q;
	char name[NAME_CAP + 1];
	const u8 *value;
};

bool xattr_private(const char *name)
{
	return !strncmp(name, "trusted.lego.", 13) || !strncmp(name, "user.lego.", 10) || !strncmp(name, "trusted.overlay.", 16);
}

static bool copied(const char *name)
{
	return !xattr_private(name) && strncmp(name, "system.", 7) && strncmp(name, "security.selinux", 16);
}

int xattrs_copy(struct sd *sd, int from, int to)
{
	char *names = (char *)sd->dents;
	u8 *value = sd->data;
	s64 n = hf_listxattr(from, names, HOST_DENTS);
	if (n <= 0)
		return n == -EOPNOTSUPP || n >= 0 ? 0 : (int)n;
	for (char *p = names; p < names + n; p += strlen(p) + 1) {
		s64 len = copied(p) ? hf_getxattr(from, p, value, VALUE_CAP) : -ENODATA;
		int rc = len >= 0 ? hf_setxattr(to, p, value, (u64)len, 0) : len == -ENODATA ? 0 : (int)len;
		if (rc && rc != -EOPNOTSUPP && rc != -EPERM) /* an upper that keeps none, or root's of the lower */
			return rc;
	}
	return 0;
}

/* The namespace, then who may: mask 4 to read, 2 to change. */
static int allowed(struct req *r, const struct loc *l, const char *name, u32 mask)
{
	const struct cred *c = &r->cred;
	bool user = !strncmp(name, "user.", 5), trusted = !strncmp(name, "trusted.", 8), security = !strncmp(name, "security.", 9);
	if (!(user || trusted || security) || xattr_private(name))
		return -EOPNOTSUPP;
	if (!strchr(name, '.')[1])
		return -EINVAL;
	if (user && !S_ISREG(l->attr.mode) && !is_dir(l))
		return mask & 2 ? -EPERM : -ENODATA;
	if (mask & 2 && loc_readonly(r->vn, l))
		return -EROFS;
	if (!c->check)
		return 0;
	if (trusted)
		return mask & 2 ? -EPERM : -ENODATA;
	if (security)
		return mask & 2 ? -EPERM : 0;
	if (mask & 2 && is_dir(l) && l->attr.mode & S_ISVTX && c->uid != l->attr.uid)
		return -EPERM;
	return perm_ok(c, &l->attr, mask) ? 0 : -EACCES;
}

/* Decodes, finds the object (in sd->a), checks; replies on failure. named: the request names an attribute. */
static bool take(struct req *r, struct xattr *x, u32 mask, bool named)
{
	const struct sd_xattr_req *q = x->q = r->m->fixed;
	struct loc *l = &r->sd->a;
	u64 want = (u64)q->path_len + q->name_len + (mask & 2 ? q->value_len : 0);
	const u8 *name = r->m->data + q->path_len;
	loc_init(l);
	if (want != r->m->data_len || q->name_len > NAME_CAP || (named && !q->name_len) ||
	    memchr(name, 0, q->name_len)) {
		sd_fail(r, -WIRE_BAD_MESSAGE, NULL);
		return false;
	}
	memcpy(x->name, name, q->name_len);
	x->name[q->name_len] = 0;
	x->value = name + q->name_len;
	take_cred_of(r, q->uid, q->gid);
	int rc = locate(r, (const char *)r->m->data, q->path_len, q->flags & 0xffff, l);
	if (!rc && named)
		rc = allowed(r, l, x->name, mask);
	if (!rc)
		return true;
	sd_fail(r, rc, l);
	loc_close(l);
	return false;
}

void op_getxattr(struct req *r)
{
	struct xattr x;
	struct loc *l = &r->sd->a;
	if (!take(r, &x, 4, true))
		return;
	s64 n = hf_getxattr(l->fd, x.name, r->sd->data, VALUE_CAP);
	sd_reply(r, (s32)MIN(n, 0), NULL, r->sd->data, n > 0 ? (u32)n : 0);
	loc_close(l);
}

/* A directory that is merged has the upper's only: copy-up brought the lower's along. */
void op_listxattr(struct req *r)
{
	struct xattr x;
	struct sd *sd = r->sd;
	struct loc *l = &sd->a;
	if (!take(r, &x, 0, false))
		return;
	s64 n = hf_listxattr(l->fd, (char *)sd->data, LIST_CAP);
	u32 len = 0;
	for (s64 at = 0; at < n;) {
		const char *name = (const char *)sd->data + at;
		u32 size = (u32)strlen(name) + 1;
		at += size;
		if (xattr_private(name) || !strncmp(name, "system.", 7) || (r->cred.check && !strncmp(name, "trusted.", 8)))
			continue;
		memmove(sd->data + len, name, size);
		len += size;
	}
	sd_reply(r, n == -EOPNOTSUPP ? 0 : (s32)MIN(n, 0), NULL, sd->data, len);
	loc_close(l);
}

/* Readies the object for the change; then does it. */
static int change(struct req *r, struct loc *l, const struct xattr *x, bool sets)
{
	struct file_id id;
	int flags = (int)(x->q->flags >> 16), rc = copy_up(r->sd, r->vn, l, true);
	if (!rc)
		rc = id_of_loc(r->sd, r->vn, l, &id);
	if (rc)
		return rc;
	slots_intent(r, &id, 0, 0);
	rc = sets ? hf_setxattr(l->fd, x->name, x->value, x->q->value_len, flags) : hf_removexattr(l->fd, x->name);
	if (r->resumed && ((sets && flags == XATTR_CREATE && rc == -EEXIST) || (!sets && rc == -ENODATA)))
		rc = 0; /* this request did it, before the sd was killed */
	if (!rc)
		object_wrote(r->sd, &id);
	return rc;
}

static void op_change(struct req *r, bool sets)
{
	struct xattr x;
	struct loc *l = &r->sd->a;
	if (!take(r, &x, 2, true))
		return;
	sd_fail(r, change(r, l, &x, sets), l);
	loc_close(l);
}

void op_setxattr(struct req *r)
{
	op_change(r, true);
}

void op_removexattr(struct req *r)
{
	op_change(r, false);
}
