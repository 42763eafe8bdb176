/* Those of storage, for fill.h. */
#ifndef LEGO_TESTS_WIRE_FILL_STORAGE_H
#define LEGO_TESTS_WIRE_FILL_STORAGE_H

#include "tests/wire/example.h"

static void fill_file_attr(void *at)
{
	struct file_attr *s = at;

	EACH(id);
	NUM(change);
	NUM(ino);
	NUM(size);
	NUM(blocks);
	NUM(mode);
	NUM(nlink);
	NUM(uid);
	NUM(gid);
	NUM(rdev);
	NUM(blksize);
	NUM(dev);
	NUM(atime_ns);
	NUM(mtime_ns);
	NUM(ctime_ns);
	NUM(btime_ns);
}

static void fill_file_ref(void *at)
{
	struct file_ref *s = at;

	EACH(id);
	NUM(change);
	NUM(vnode);
	NUM(rights);
	EACH(mac);
}

static void fill_sd_image_req(void *at)
{
	struct sd_image_req *s = at;

	TEXT(name);
	NUM(what);
	NUM(layers);
}

static void fill_sd_image_put_rep(void *at)
{
	struct sd_image_put_rep *s = at;

	NUM(done);
	NUM(error);
}

static void fill_sd_path_req(void *at)
{
	struct sd_path_req *s = at;

	NUM(len);
	NUM(len2);
	NUM(flags);
	NUM(mode);
	NUM(arg);
	NUM(uid);
	NUM(gid);
}

static void fill_sd_open_rep(void *at)
{
	struct sd_open_rep *s = at;

	fill_file_ref(&s->handle);
	fill_file_attr(&s->attr);
	NUM(created);
	NUM(path_len);
}

static void fill_sd_open_id_req(void *at)
{
	struct sd_open_id_req *s = at;

	EACH(id);
	NUM(rights);
}

static void fill_sd_io_req(void *at)
{
	struct sd_io_req *s = at;

	fill_file_ref(&s->file);
	NUM(off);
	NUM(len);
	NUM(flags);
	NUM(uid);
}

static void fill_sd_io_rep(void *at)
{
	struct sd_io_rep *s = at;

	NUM(n);
	NUM(end);
	NUM(size);
	NUM(change);
	NUM(verifier);
}

static void fill_sd_setattr_req(void *at)
{
	struct sd_setattr_req *s = at;

	NUM(len);
	NUM(flags);
	NUM(mask);
	NUM(mode);
	NUM(uid);
	NUM(gid);
	NUM(size);
	NUM(atime_ns);
	NUM(mtime_ns);
	NUM(by_uid);
	NUM(by_gid);
}

static void fill_sd_dirent(void *at)
{
	struct sd_dirent *s = at;

	NUM(ino);
	NUM(cookie);
	NUM(reclen);
	NUM(type);
	NUM(name_len);
}

static void fill_sd_statfs_rep(void *at)
{
	struct sd_statfs_rep *s = at;

	NUM(type);
	NUM(bsize);
	NUM(blocks);
	NUM(bfree);
	NUM(bavail);
	NUM(files);
	NUM(ffree);
	NUM(namelen);
	NUM(frsize);
	NUM(flags);
}

static void fill_sd_vnode_req(void *at)
{
	struct sd_vnode_req *s = at;

	NUM(vnode);
	NUM(lower_len);
	NUM(upper_len);
	NUM(nbind);
	NUM(quota_bytes);
}

static void fill_sd_bind(void *at)
{
	struct sd_bind *s = at;

	NUM(host_len);
	NUM(dir_len);
	NUM(readonly);
}

static void fill_sd_open_ids_req(void *at)
{
	struct sd_open_ids_req *s = at;

	NUM(vnode);
	NUM(count);
	NUM(part);
	NUM(parts);
}

static void fill_sd_revoke_req(void *at)
{
	struct sd_revoke_req *s = at;

	NUM(asid);
}

static void fill_sd_groups_req(void *at)
{
	struct sd_groups_req *s = at;

	NUM(count);
}

static void fill_sd_xattr_req(void *at)
{
	struct sd_xattr_req *s = at;

	NUM(path_len);
	NUM(name_len);
	NUM(value_len);
	NUM(flags);
	NUM(uid);
	NUM(gid);
}

static void fill_sd_spill_req(void *at)
{
	struct sd_spill_req *s = at;

	NUM(id);
	NUM(pages);
}

static void fill_sd_spill_io_req(void *at)
{
	struct sd_spill_io_req *s = at;

	NUM(id);
	NUM(page);
}

#endif
