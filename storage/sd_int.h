/* What the parts of the storage node share. Everything belongs to one struct sd and is touched by its one thread.
 *
 *   conn ──► vnode ──► layers: upper (private, writable), lower (host, read-only), binds (host)
 *   req: one request under way; it replies exactly once
 *   loc: where a path of a vNode leads; holds O_PATH fds, so loc_close when done
 *
 * A vNode's tree. A path is looked up, links already followed, in the bind that covers it; else in the upper; else in the lower, unless
 * hidden (hide.h). The upper holds only things that are visible: what hides the lower is kept beside it, so no name a program chooses
 * can be taken for a marker. A directory in both is merged; its identity is then the lower's, which copy-up does not change.
 *
 * Layout of the data directory:
 *   key, ids, mounts, slots           key of handles; id → place; mount numbers; stored replies
 *   images/NAME/{root,info}           image.c
 *   vnodes/<id>/config                the definition, as it came
 *   vnodes/<id>/upper/{files,work,orphans,hidden}     or under the path the definition names */
#ifndef LEGO_STORAGE_SD_INT_H
#define LEGO_STORAGE_SD_INT_H

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "rpc/gm_link.h"
#include "storage/hide.h"
#include "storage/hostfs.h"
#include "storage/sd.h"

#define PATH_CAP	WIRE_PATH_MAX
#define NAME_CAP	255u
#define MAX_LINKS	40u
#define MAX_BINDS	64u
#define MAX_SECRETS	3u
#define WRITE_COUNTERS	4096u /* in struct sd.writes */
#define WALK_REST	(3 * PATH_CAP)
#define HOST_DENTS	(64u * 1024u)
#define SD_CONN_BUCKETS 256u
#define SD_ANON_DEV	64u /* the first device number inside a vNode */

enum layer { LAYER_UPPER, LAYER_LOWER, LAYER_BIND };

struct file_id {
	u64 w[2];
};

struct cred {
	u32 uid, gid;
	u32 ngroups;
	const u32 *groups; /* supplementary */
	bool check; /* permissions are this node's to check: the host does not know uid */
};

struct vbind {
	char *dir, *host; /* dir: normalised, no final slash */
	u32 dir_len;
	int fd;
	bool readonly;
};

struct vnode {
	struct vnode *next;
	u32 id;
	int lower; /* -1: none */
	char *lower_host; /* or the name of an image */
	int upper, work, orphans;
	u64 upper_dev;
	struct vbind bind[MAX_BINDS];
	u32 nbind;
	struct secret { /* of the host, found below the lower or a bind: not there */
		u8 layer;
		u32 bind, len;
		char *path; /* in the vNode */
	} secret[MAX_SECRETS * (MAX_BINDS + 1)];
	u32 nsecret;
	struct hide *hide;
	u8 id_key[4][16];
	u8 *config; /* as defined: fixed part, then data */
	u32 config_len;
	struct quota { /* quota.c */
		u64 bytes; /* 0: none */
		u64 used;  /* at most */
		u64 counted_ns;
		bool counted, freed;
	} quota;
	u64 idle_since_ns; /* last channel closed, or last report of its open files */
};

struct conn {
	struct conn *next;
	conn_id id;
	u8 role, kind;
	u32 vnode, uid, gid;
	u64 session;
	u64 asid; /* ROLE_VNODE: whose end is the channel's; 0: nobody's */
	u64 revoked_ns, heard_ns; /* that end has come; and when it last said something. 0: no */
	char name[WIRE_NAME_MAX]; /* of the dialler's node */
	u32 ngroups;
	u32 *groups; /* of who acts on a root channel; SD_GROUPS */
	u32 held; /* inorder.c: posted writes that wait for a recall */
	struct queued *queue; /* what came after them */
};

struct loc {
	u32 len; /* of path; 0: the root */
	char path[PATH_CAP];
	bool exists;
	u8 layer;		   /* of the visible object; where absent: LAYER_UPPER or LAYER_BIND, where it would be made */
	u32 bind;		   /* index, for LAYER_BIND */
	int fd;			   /* O_PATH of the visible object, or -1 */
	int lower_fd;		   /* of the lower's directory when merged, or -1 */
	int dir_fd;		   /* WALK_PARENT, absent: O_PATH of the writable layer's directory it would be made in, when that was at hand; or -1 */
	u32 lower_len;		   /* of lower */
	char lower[PATH_CAP];	   /* where in the lower tree its part of the object lies (LAYER_LOWER, or merged) */
	bool special;		   /* the path ended in "." or ".." */
	bool slash;		   /* the path ended in "/" */
	bool nameless;		   /* an object without a path: only fd and attr count */
	bool at_once;		   /* absent, and nobody looked whether the writable layer has a directory for it */
	struct hf_attr attr;	   /* of fd */
	struct hf_attr lower_attr; /* of lower_fd */
	struct hf_attr dir;	   /* of the parent; filled when cred.check */
};

enum walk_flags {
	WALK_NOFOLLOW = 1,
	WALK_PARENT = 2, /* the last component may be absent */
	WALK_NO_SYMLINKS = 4,
	WALK_BENEATH = 8,
};

struct ids;
struct fdcache;
struct orphans;
struct slots;
struct leases;
struct images;
struct locks;
struct spills;

struct sd {
	const struct node_env *env;
	struct sd_config cfg;
	int data_fd;
	char *secret[MAX_SECRETS]; /* host paths, links resolved */
	u8 key[32];		   /* of handles and ids, durable */
	u8 change_key[16];
	u64 verifier;
	u64 start_ns;
	u64 lease_ns;
	u64 temp_seq; /* names in work directories */
	u32 euid;
	bool handles; /* open_by_handle_at works */
	struct file_ref good_handle; /* the last one that was found good, or made: mostly that of the next request too */
	bool restarted; /* there was an sd on this directory before */
	struct gm_link *gm;
	struct once_table *once;
	struct conn *conns[SD_CONN_BUCKETS];
	u32 channels; /* of role ROLE_VNODE */
	u32 revoked;  /* of those, to be closed soon */
	struct vnode *vnodes;
	struct ids *ids;
	struct fdcache *fds;
	struct orphans *orphans;
	struct slots *slots;
	struct leases *leases;
	struct images *images;
	struct locks *locks;
	struct spills *spills;
	struct node_calls *calls; /* to memory nodes: recalls */
	u32 *writes; /* counters mixed in change attributes, by hash of id */
	u64 refused; /* bad or unauthorised messages */
	struct { /* quota.c: what was seen last */
		u64 dev, until_ns;
		bool yes;
	} roomy;
	struct { /* later.c */
		struct later *reads; /* under way */
		u64 sync_ns;	     /* how long a sync takes: a mean */
		u64 unsynced[256];   /* bytes written since the last one, by hash of id */
	} later;
	/* scratch of the request under way */
	struct loc a, b, c;
	char walk_rest[WALK_REST];
	char cand[PATH_CAP], tmp_path[PATH_CAP], link[PATH_CAP], lower[PATH_CAP], prefix[PATH_CAP];
	u8 data[MSG_MAX_DATA];
	_Alignas(8) u8 dents[HOST_DENTS];
};

struct req {
	struct sd *sd;
	const struct conn *conn;
	struct vnode *vn;
	const struct msg *m;
	const struct op_row *row;
	struct cred cred;
	bool once, replied;
	u32 bring; /* bytes of the file that an open brings along */
	struct store_run *run;	/* store.c */
	struct slot_rec *slot; /* store.c: of an answer that was kept */
	bool resumed; /* a ONCE request whose first run this sd, or the one before it, may have begun: see slots.h */
};

/* ---- sd.c */
/* fixed: the row's reply struct; NULL: zeros where data follows, else nothing. */
void sd_reply(struct req *r, s32 status, const void *fixed, const void *data, u32 data_len);
/* Replies with status; to -WIRE_REDIRECT with the path in l. */
void sd_fail(struct req *r, s32 status, const struct loc *l);
/* Permissions of uid are this node's to check: the host would check its own. */
bool sd_must_check(const struct sd *sd, u32 uid);
bool sd_vnode_in_use(struct sd *sd, u32 vnode); /* by a process's channel */
void sd_temp_name(struct sd *sd, char name[24]);
bool sd_knows(struct sd *sd, conn_id c); /* it is open */
struct conn *sd_conn(struct sd *sd, conn_id c);
void sd_serve(struct sd *sd, struct conn *c, const struct msg *m);

/* Does a request that leases_hold kept, as if it had just come. */
void sd_resume(struct sd *sd, const struct conn *c, const struct msg *m);
/* The same of one that store.c kept. */
struct held;
void sd_again(struct sd *sd, const struct conn *c, const struct msg *m, bool once, struct held *again);

/* ---- leases.c */
int leases_open(struct sd *sd);
void leases_close(struct sd *sd);
u64 leases_grant(struct req *r, const struct file_id *id); /* ns, or 0 */
bool leases_hold(struct req *r);			   /* true: it is done later, by sd_resume */
void leases_conn_closed(struct sd *sd, conn_id c);
u64 leases_tick(struct sd *sd, u64 now_ns);

/* ---- locks.c */
int locks_open(struct sd *sd);
void locks_close(struct sd *sd);
void locks_conn_opened(struct sd *sd, const struct conn *c);
void op_lock(struct req *r);

/* ---- inorder.c */
bool inorder_is_posted(const struct msg *m);
void inorder_held(struct sd *sd, conn_id c);		     /* a posted request of c is held back */
bool inorder_waits(struct conn *c, const struct msg *m);     /* true: it is served later */
void inorder_done(struct sd *sd, conn_id c);		     /* it was done */
void inorder_drop(struct conn *c);			     /* c is closed */

/* ---- image.c */
int images_open(struct sd *sd);
void images_close(struct sd *sd);
void images_conn_closed(struct sd *sd, conn_id c);
int image_open_root(struct sd *sd, const char *name); /* O_PATH fd, or -errno */
bool image_name_ok(const char *name);

/* ---- later.c */
bool later_expected(struct sd *sd, const struct file_id *id); /* a sync of the file, made now, is expected to take long */
/* True: the request was taken, and is answered when its host call has ended. */
bool later_sync(struct req *r, const struct file_id *id, int fd, bool data_only, const struct sd_io_rep *rep);
bool later_syncfs(struct req *r, const struct file_id *id, int fd, const struct sd_io_rep *rep);
bool later_read(struct req *r, const struct file_id *id, int fd, u64 off, u64 len);
int sync_now(struct sd *sd, int fd, bool data_only);
void later_took(struct sd *sd, u64 started_ns); /* a sync ended */
void later_wrote(struct sd *sd, const struct file_id *id, u64 n);
bool later_reading(const struct sd *sd);
void later_changes(struct sd *sd, const struct file_id *id); /* its data are about to be changed */

/* ---- ops_io.c: l shows the open regular file, by its fd (which l does not get), its path as far as it is remembered. fd -1: of its
 * attributes only the type is wanted. */
bool loc_of_open(struct req *r, const struct file_id *id, int fd, struct loc *l);

/* ---- quota.c: 0 or -EDQUOT */
#define QUOTA_NAME 4096u /* of a new name and inode */
int quota_take(struct sd *sd, struct vnode *vn, u64 bytes);
int quota_take_at(struct sd *sd, struct vnode *vn, const struct loc *l, u64 bytes); /* not in a bound directory */
int quota_write(struct sd *sd, struct vnode *vn, const struct file_id *id, int fd, u64 off, u64 len);
void quota_freed(struct vnode *vn); /* a request may have freed something */
/* The file (just made, open at fd) has so much room above it that nobody has to wait to hear whether the next writes fit. */
bool quota_roomy(struct sd *sd, struct vnode *vn, const struct loc *l, int fd);

/* ---- ops_io.c: the ends of data requests: how the file is now */
void reply_io(struct req *r, const struct file_id *id, int fd, struct sd_io_rep *rep, const void *data, u32 len);
void reply_read(struct req *r, const struct file_id *id, int fd, struct sd_io_rep *rep, const void *data, u32 len, bool may_lease);

/* ---- vnode.c */
struct vnode *sd_vnode(struct sd *sd, u32 id);
int vnode_define(struct sd *sd, const struct sd_vnode_req *req, const u8 *data, u32 len);
int vnodes_load(struct sd *sd);
void vnode_free(struct sd *sd, struct vnode *vn);
/* Index of the bind that covers path, or -1. */
int vnode_bind_of(const struct vnode *vn, const char *path, u32 len);
/* A bind's directory is path or lies below it. */
bool vnode_holds_bind(const struct vnode *vn, const char *path, u32 len);
/* path in that layer is a secret of the host's. */
bool vnode_secret(const struct vnode *vn, u8 layer, u32 bind, const char *path, u32 len);
int layer_fd(const struct vnode *vn, u8 layer, u32 bind);
/* path as seen from the layer's directory: "." for that directory itself. */
const char *layer_rel(const struct vnode *vn, u8 layer, u32 bind, const char *path);

/* ---- walk.c */
bool perm_ok(const struct cred *c, const struct hf_attr *a, u32 mask);
/* Resolves a path inside the vNode. 0 (with WALK_PARENT look at l->exists), -errno, or -WIRE_REDIRECT with the path in l. */
int walk(struct sd *sd, struct vnode *vn, const struct cred *c, const char *path, u32 len, u32 flags, struct loc *l);
/* Of a plain path (no link, ".", ".." on it) by who is not checked: the object, or that there is none (l->at_once), by as few host calls as
 * possible. False: walk. */
bool walk_at_once(struct sd *sd, struct vnode *vn, const struct cred *c, const char *path, u32 len, u32 flags, struct loc *l);
/* The object at a normalised path, nothing followed. path may be l->path (l closed). */
int loc_at(struct sd *sd, struct vnode *vn, const char *path, u32 len, struct loc *l);
void loc_init(struct loc *l);
void loc_close(struct loc *l);
bool loc_readonly(const struct vnode *vn, const struct loc *l); /* on a read-only bind */
/* The lower has something for path that no mark hides (binds do not cover path). Its type bits, or 0; sd->lower says where. */
u32 lower_visible(struct sd *sd, struct vnode *vn, const char *path, u32 len);
const char *last_name(const char *path);
static inline bool is_dir(const struct loc *l)
{
	return S_ISDIR(l->attr.mode);
}

bool in_group(const struct cred *c, u32 gid);

/* ---- lower.c */
/* Where in the lower tree path leads: its length, out (PATH_CAP) NUL-ended; -ENOENT: hidden, or there is no lower. */
int lower_path(struct sd *sd, struct vnode *vn, const char *path, u32 len, char *out);
/* The upper's directory fd shows the lower's at `lower` wherever it is moved to. */
int lower_bind(struct sd *sd, struct vnode *vn, int fd, const char *lower, u32 len);

/* ---- xattr.c */
bool xattr_private(const char *name);
/* What a copy in the upper is to have. */
int xattrs_copy(struct sd *sd, int from, int to);

/* ---- copyup.c */
/* Brings the object of l (in the lower) to the upper; l then shows it there. with_data false: the file arrives empty. */
int copy_up(struct sd *sd, struct vnode *vn, struct loc *l, bool with_data);
/* O_PATH fd of the writable directory that holds l's last name, directories above copied up; to be closed. */
int parent_fd(struct sd *sd, struct vnode *vn, struct loc *l); /* may take l->dir_fd */

/* ---- ids.c */
int ids_open(struct sd *sd);
void ids_close(struct sd *sd);
void ids_vnode_key(struct sd *sd, struct vnode *vn);
/* The id of the object behind fd. */
int id_of(struct sd *sd, struct vnode *vn, int fd, const struct hf_attr *a, struct file_id *id);
int id_of_loc(struct sd *sd, struct vnode *vn, const struct loc *l, struct file_id *id);
/* A new fd on the object, by the host's file handle; -ESTALE when that cannot serve. */
int id_open(struct sd *sd, struct vnode *vn, const struct file_id *id, int flags);
u64 id_ino(struct sd *sd, const struct hf_attr *a); /* as shown to programs */
/* The soft table id → place. */
void ids_put(struct sd *sd, struct vnode *vn, const struct file_id *id, const struct loc *l);
/* Fills path (PATH_CAP) and its length; false: unknown. */
bool ids_get(struct sd *sd, struct vnode *vn, const struct file_id *id, char *path, u32 *len);
void ids_moved(struct sd *sd, struct vnode *vn, const struct file_id *id, const struct loc *to);
/* A directory moved: what is remembered below it moves with it. */
void ids_renamed(struct sd *sd, struct vnode *vn, const char *from, const char *to);
void handle_seal(struct sd *sd, struct file_ref *h);
bool handle_ok(struct sd *sd, const struct file_ref *h);

/* ---- objects.c: from ids to files */
struct fdcache *fdcache_new(void);
void fdcache_free(struct fdcache *f);
void fdcache_tick(struct fdcache *f, u64 now_ns);
void fdcache_drop(struct fdcache *f, const struct file_id *id);
void fdcache_drop_all(struct fdcache *f);
/* Takes fd over. pinned: it stays until dropped. False: too many are pinned. */
bool fdcache_add(struct sd *sd, const struct file_id *id, int fd, bool writable, bool pinned);
int object_cached(struct sd *sd, const struct file_id *id, bool writable); /* a borrowed fd; -ENOENT: not in the cache */
/* A borrowed fd with data access, or -errno. */
int object_fd(struct sd *sd, struct vnode *vn, const struct file_id *id, bool writable);
/* Where the object is now; -ESTALE: not to be found by name. */
int object_loc(struct sd *sd, struct vnode *vn, const struct file_id *id, struct loc *l);
void object_wrote(struct sd *sd, const struct file_id *id);
u64 object_change(struct sd *sd, const struct file_id *id, const struct hf_attr *a, const struct hf_attr *lower);
void fill_attr(struct sd *sd, const struct loc *l, const struct file_id *id, struct file_attr *out);
/* Replies with handle (rights), attributes and path of l. known: its id, or NULL. keep: a handle that will be used
 * again. */
void reply_open(struct req *r, struct loc *l, const struct file_id *known, u32 rights, bool keep, u32 created);

/* ---- orphan.c */
u32 orphans_count(const struct orphans *o); /* removed, but open */
struct orphans *orphans_new(void);
void orphans_free(struct orphans *o);
void orphans_load(struct sd *sd, struct vnode *vn);
void orphans_handed(struct sd *sd, const struct file_id *id); /* a handle was given out */
bool orphans_has(struct sd *sd, const struct file_id *id);
int orphan_fd(struct sd *sd, struct vnode *vn, const struct file_id *id, int flags);
/* Removes name (a non-directory, attributes a) from dir; keeps the data of an open file's last link. */
int orphan_unlink(struct sd *sd, struct vnode *vn, int dir, const char *name);
/* name in dir is about to be replaced: keep its data if need be. *undo is removed again by orphan_undo when nothing came of it. */
void orphan_keep(struct sd *sd, struct vnode *vn, int dir, const char *name, struct file_id *undo, bool *kept);
void orphan_undo(struct sd *sd, struct vnode *vn, const struct file_id *undo);
/* An unnamed file of vn: its fd (to be closed) and id. */
int orphan_make(struct sd *sd, struct vnode *vn, const struct loc *dir, u32 mode, const struct cred *c, struct file_id *id);
/* Gives an unnamed file a name. */
int orphan_adopt(struct sd *sd, struct vnode *vn, const struct file_id *id, int dir, const char *name);
void orphans_conn_closed(struct sd *sd, conn_id c);
void orphans_tick(struct sd *sd, u64 now_ns);

/* ---- ops_io.c: what a write by somebody else than root does to a program's borrowed authority */
void drop_suid(struct req *r, int fd);

/* ---- handlers: ops_path.c ops_name.c rename.c ops_io.c readdir.c setattr.c */
void op_vnode(struct req *r);
void op_open_ids(struct req *r);
void op_revoke(struct req *r);
void op_stat(struct req *r);
void op_open(struct req *r);
void op_open_read(struct req *r);
void op_open_id(struct req *r);
void op_getattr(struct req *r);
void op_setattr(struct req *r);
void op_access(struct req *r);
void op_readlink(struct req *r);
void op_statfs(struct req *r);
void op_read(struct req *r);
void op_write(struct req *r);
void op_fsync(struct req *r);
void op_fallocate(struct req *r);
void op_seek(struct req *r);
void op_readdir(struct req *r);
void op_mkdir(struct req *r);
void op_mknod(struct req *r);
void op_symlink(struct req *r);
void op_link(struct req *r);
void op_unlink(struct req *r);
void op_rename(struct req *r);
void op_getxattr(struct req *r);
void op_setxattr(struct req *r);
void op_listxattr(struct req *r);
void op_removexattr(struct req *r);
void op_groups(struct req *r);
void op_image(struct req *r);
void op_image_put(struct req *r);
void op_image_list(struct req *r);

/* ---- spill.c */
int spills_open(struct sd *sd);
void spills_close(struct sd *sd);
void spills_conn_closed(struct sd *sd, conn_id c);
void spills_tick(struct sd *sd, u64 now_ns);
void op_spill(struct req *r);
void op_spill_write(struct req *r);
void op_spill_read(struct req *r);

/* Decoding shared by handlers. */
struct paths {
	const char *p1, *p2;
	u32 len1, len2;
};
/* The two paths of a sd_path_req; false: they do not fit the frame (replied). */
bool take_paths(struct req *r, struct paths *p);
/* The identity the request acts under: the channel's; a root channel may act for others. */
void take_cred(struct req *r);
void take_cred_of(struct req *r, u32 uid, u32 gid);
u32 walk_flags_of(u32 sdp);
/* The object a path (or with SDP_BY_ID an id) names. l is to be closed in any case. */
int locate(struct req *r, const char *path, u32 len, u32 sdp, struct loc *l);
int locate_id(struct req *r, const struct file_id *id, struct loc *l);
/* Whether the request may do to the object what mask says: 4 read, 2 write, 1 execute or search. */
int may(struct req *r, const struct loc *l, u32 mask);
int may_remove(struct req *r, const struct loc *l);
int dir_empty(struct sd *sd, struct vnode *vn, const struct loc *l); /* 1: shows no name; 0; -errno */
/* Replies to a request of two paths whose first was redirected: with both paths, a NUL between, if the second is too, else -EXDEV. */
void fail_two(struct req *r, s32 rc, struct loc *first, const char *path, u32 len, struct loc *second);
/* The handle of a request; NULL: not valid for this channel, or lacks a right (replied). */
const struct sd_io_req *take_handle(struct req *r, u32 rights, struct file_id *id);

#endif
