/* Where in the lower tree a path of the vNode leads.
 *
 * Usually to the same path. A directory of which the lower has a part can be moved all the same: its directory in the upper then carries
 * the lower's path in an extended attribute, which the host's rename takes along, so the move stays one step. What it shows of the lower
 * is decided by marks on *lower* paths (hide.h), below that path only: the mark that hides it at its old place does not count.
 *
 * Invariant: each directory of the lower is shown at one place at most: its own path when nothing marks it, or where the attribute is. */
#include "storage/sd_int.h"

#define MOVED "//" /* marked when there may be such attributes: no path of a lower object looks so */

static const char *attr_name(const struct sd *sd)
{
	return sd->euid ? "user.lego.lower" : "trusted.lego.lower";
}

/* The path the upper's directory `prefix` carries: its length; 0: none; -ENOENT: the upper has no directory there. */
static int carried(struct sd *sd, struct vnode *vn, const char *prefix, char *out)
{
	int fd = hf_open(vn->upper, layer_rel(vn, LAYER_UPPER, 0, prefix), O_PATH | O_DIRECTORY | O_NOFOLLOW, 0);
	if (fd < 0)
		return -ENOENT;
	s64 n = hf_getxattr(fd, attr_name(sd), out, PATH_CAP - 1);
	hf_close(fd);
	if (n <= 0)
		return 0;
	out[n] = 0;
	return (int)n;
}

/* Name by name from the root: an attribute sets the lower's path, else the name is added to it. */
static int follow_moves(struct sd *sd, struct vnode *vn, const char *path, u32 len, char *out)
{
	char *prefix = sd->prefix;
	u32 n = 0;
	bool shown = true, upper = true;
	memcpy(prefix, path, len);
	out[0] = 0;
	for (u32 at = 0, next; at < len; at = next) {
		for (next = at + 1; next < len && path[next] != '/'; next++)
			;
		prefix[next] = 0;
		int moved = upper ? carried(sd, vn, prefix, sd->link) : -ENOENT;
		upper = moved >= 0;
		prefix[next] = '/';
		if (moved > 0) {
			memcpy(out, sd->link, (u32)moved + 1);
			n = (u32)moved;
			shown = true;
		} else if (shown) {
			if (n + next - at >= PATH_CAP)
				return -ENOENT;
			memcpy(out + n, path + at, next - at);
			n += next - at;
			out[n] = 0;
			shown = !hide_marked(vn->hide, out, n);
		}
		if (!shown && !upper)
			return -ENOENT;
	}
	return shown ? (int)n : -ENOENT;
}

int lower_path(struct sd *sd, struct vnode *vn, const char *path, u32 len, char *out)
{
	if (vn->lower < 0)
		return -ENOENT;
	if (hide_marked(vn->hide, MOVED, sizeof(MOVED) - 1))
		return follow_moves(sd, vn, path, len, out);
	if (hide_covers(vn->hide, path, len))
		return -ENOENT;
	memcpy(out, path, len);
	out[len] = 0;
	return (int)len;
}

int lower_bind(struct sd *sd, struct vnode *vn, int fd, const char *lower, u32 len)
{
	int rc = hide_mark(vn->hide, MOVED, sizeof(MOVED) - 1);
	if (!rc)
		rc = hf_setxattr(fd, attr_name(sd), lower, len, 0);
	return rc == -EOPNOTSUPP || rc == -EPERM ? -EXDEV : rc; /* the upper's file system keeps no attributes: programs copy */
}
