/* What nobody can reach any more goes: files without a name that no descriptor holds, then their stripes.
 *
 * Both are lists in the store (m1, m2), so an opening goes on where the one before ended: then nothing is open. A stripe's list entry goes
 * when all its stripes have gone; removing what has gone already is harmless. A few at a time. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "storage/rados/fs.h"

#define FILES_AT_ONCE	64u
#define STRIPES_AT_ONCE 16u

static int remove_file(struct fs *fs, struct kv_obj *orphans, struct kv_obj *o, const char *key)
{
	struct fs_attr a;
	if (!kv_obj(&fs->kv, KV_PURGE))
		return -KV_AGAIN;
	if (fs_attr(o, &a) && S_ISREG(a.mode))
		fs_free_data(fs, &a);
	kv_del(&fs->kv, orphans, key);
	kv_drop(&fs->kv, o);
	return 0;
}

/* True: some went. */
static bool purge_files(struct fs *fs)
{
	struct kv_obj *orphans = kv_obj(&fs->kv, KV_ORPHANS);
	u32 done = 0;
	for (u32 i = 0; orphans && i < orphans->n && done < FILES_AT_ONCE;) {
		char key[24];
		struct fs_scope s;
		snprintf(key, sizeof(key), "%s", orphans->e[i]->key);
		struct kv_obj *o = kv_obj(&fs->kv, strtoull(key, NULL, 16));
		i++;
		if (!o || o->opens)
			continue;
		fs_enter(fs, &s);
		if (fs_leave(fs, &s, remove_file(fs, orphans, o, key)) >= 0) {
			i--;
			done++;
		}
	}
	return done;
}

static void stripes_end(struct fs *fs)
{
	struct kv_obj *list = kv_obj(&fs->kv, KV_PURGE);
	struct fs_scope s;
	char key[24];
	snprintf(key, sizeof(key), "%016llx", (unsigned long long)fs->purge.data);
	fs->purge.active = false;
	if (!list)
		return;
	fs_enter(fs, &s);
	kv_del(&fs->kv, list, key);
	(void)fs_leave(fs, &s, 0);
}

static void purge_more(struct fs *fs);

static void gone(void *arg, s64 rc)
{
	struct fs *fs = arg;
	fs->purge.out--;
	purge_more(fs);
}

static void purge_more(struct fs *fs)
{
	char name[LINK_NAME];
	while (fs->purge.next < fs->purge.end && fs->purge.out < STRIPES_AT_ONCE) {
		snprintf(name, sizeof(name), "d%016llx.%08x", (unsigned long long)fs->purge.data, fs->purge.next++);
		fs->purge.out++;
		link_remove(fs->link, name, gone, fs);
	}
	if (!fs->purge.out)
		stripes_end(fs);
}

/* The record that says the stripes are nobody's is durable: only then they go. */
static bool purge_stripes(struct fs *fs)
{
	const struct kv *kv = &fs->kv;
	struct kv_obj *list = kv_obj(&fs->kv, KV_PURGE);
	if (!list || fs->purge.active || !list->n || kv->first)
		return list && list->n;
	fs->purge.active = true;
	fs->purge.data = strtoull(list->e[0]->key, NULL, 16);
	fs->purge.next = 0;
	memcpy(&fs->purge.end, kv_value(list->e[0]), sizeof(fs->purge.end));
	purge_more(fs);
	return true;
}

bool fs_purge(struct fs *fs)
{
	if (fs->kv.dead || fs->kv.run)
		return false;
	bool files = purge_files(fs), stripes = purge_stripes(fs);
	return files || stripes;
}
