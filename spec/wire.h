/* Every message of the cluster, as bytes. Little-endian, fixed widths, no host types, no pointers; each
 * struct's size is asserted beside it. A frame is
 *
 *     +----------------------+------------------------+---------------------------+
 *     | struct msg_hdr (48)  | fixed request or reply | variable data (op-defined)|
 *     +----------------------+------------------------+---------------------------+
 *       hdr.len counts all three, in bytes.
 *
 * The same frame travels through a shared-memory ring, a TCP stream and the in-process loop. */
#ifndef LEGO_SPEC_WIRE_H
#define LEGO_SPEC_WIRE_H

#include "base/types.h"

#define LEGO_WIRE_MAGIC 0x4f47454cu /* "LEGO" */
#define LEGO_WIRE_VERSION 4u

#define MSG_MAX_DATA (256u * 1024u)                   /* largest variable part, bytes */
#define MSG_MAX_LEN (MSG_MAX_DATA + 4096u)            /* largest frame, bytes */
#define FETCH_MAX_LINES 64u                           /* lines in one fetch window: as many as a mask has bits */
#define WB_MAX_LINES 32u                              /* in one write-back batch, or in a part of a space that moves */
#define WIRE_PATH_MAX 4096u                           /* with its NUL */
#define WIRE_NAME_MAX 32u                             /* component, vNode and cluster names, with NUL */
#define WIRE_SHARD_MARK '.'                           /* m0.1: another thread of the memory node m0 */
#define WIRE_ADDR_MAX 108u                            /* "unix:/path" or "tcp:host:port", with NUL */
#define WIRE_LABEL_MAX 32u                            /* one label, "ssd" or "rack=a", with NUL */
#define WIRE_LABELS_MAX 96u                           /* labels with commas between, with NUL */
#define WIRE_WHY_MAX 160u                             /* a line for people, with NUL */

enum msg_flags {
	MSG_REPLY = 1u << 0,
	MSG_ONCE = 1u << 1, /* hdr.slot and hdr.seq name a stored-reply slot of the session */
};

struct msg_hdr {
	u32 len;     /* whole frame, bytes, header included */
	u16 op;      /* enum lego_op */
	u16 flags;   /* enum msg_flags */
	u64 tag;     /* chosen by the caller, returned in the reply: generation << 32 | slot */
	s32 status;  /* in a reply: 0, -errno, or -(enum wire_status) */
	u32 epoch;   /* of the chain the caller believes in; 0 where none applies */
	u64 session; /* for MSG_ONCE: session id given at HELLO; else 0 */
	u32 slot;    /* for MSG_ONCE: 0 .. SESSION_SLOTS-1 */
	u32 seq;     /* for MSG_ONCE: rises with each new request in the slot; gaps only where one was given up */
	u64 reserved;
};
_Static_assert(sizeof(struct msg_hdr) == 48, "wire");

#define SESSION_SLOTS 16u

/* Statuses that are no errno. Grouped by how far the damage reaches. Sent negated, like an errno. */
enum wire_status {
	/* this request */
	WIRE_NO_LINE = 4096,  /* the owner lacks a line it should have */
	WIRE_WAIT = 4097,     /* not now: ask again */
	WIRE_MOVED = 4098,    /* another owner: reply data says which */
	WIRE_REDIRECT = 4099, /* path leads into a file system of the pComponent: reply data is that path */
	WIRE_STALE = 4100,    /* epoch, view or term too old */
	WIRE_CANCELLED = 4101,
	WIRE_TIMEOUT = 4102,
	/* this channel: it is closed after the reply */
	WIRE_BAD_MESSAGE = 4128,
	WIRE_UNAUTHORISED = 4129,
	WIRE_BAD_SEQ = 4130,
	WIRE_PLAIN = 4131, /* the node encrypts, the hello does not */
	/* this node */
	WIRE_DOWN = 4160, /* connection broken */
	WIRE_BUSY = 4161,
	WIRE_NOT_LEADER = 4162, /* a manager that stands by: another one leads */
};

enum component_kind { KIND_PROCESSOR = 1, KIND_MEMORY = 2, KIND_STORAGE = 3, KIND_MANAGER = 4, KIND_CLIENT = 5 };
enum component_state { COMP_UP = 1, COMP_DOWN = 2, COMP_DRAINING = 3, COMP_DEGRADED = 4 };

/* What a connection may do. Bound at HELLO by a peer that knows the cluster key; never named by the monitor. */
enum channel_role {
	ROLE_COMPONENT = 1, /* a daemon: gm, pd, md, sd */
	ROLE_SPACE = 2,     /* to an md: one address space */
	ROLE_VNODE = 3,     /* to an sd: one vNode's tree, as one uid */
	ROLE_ADMIN = 4,     /* the command line */
	ROLE_PROCESS = 5,   /* a process's control socket to its pd: adopted, never in a HELLO */
	ROLE_READER = 6,    /* to an md without memory of the process: files of its vNode are read there */
};

/* ------------------------------------------------------------------ manager */

struct gm_register_req {
	u8 kind, pad0[7];
	u64 incarnation;
	u64 total_bytes; /* memory served (md), ExCache budget (pd), 0 = unknown */
	u32 host_pid;
	u32 cores;
	char name[WIRE_NAME_MAX]; /* wanted id; empty: the manager chooses */
	char addr[WIRE_ADDR_MAX];
	u32 pad1;
	char labels[WIRE_LABELS_MAX]; /* that placement may ask for; host=… says which nodes fail together (else those of one host's address) */
};
_Static_assert(sizeof(struct gm_register_req) == 272, "wire");
struct gm_register_rep {
	u64 term;
	u64 cluster_id;
	char name[WIRE_NAME_MAX];
	u32 beat_ms; /* how often to beat */
	u32 lease_ms;
	/* for a memory node */
	u64 region_bytes; /* of a vRegion: a power of two, at least REGION_MIN */
	u64 near_bytes;   /* so much of a process stays at its home before the manager is asked for other nodes */
	u32 epoch;        /* of its chain */
	u32 pad0;
};
_Static_assert(sizeof(struct gm_register_rep) == 80, "wire");
#define REGION_MIN (2 * MIB)

/* GM_BEAT request: this, then for a pd `nproc` struct proc_report. */
enum store_kind { STORE_NONE, STORE_DRAM, STORE_COMPRESSED, STORE_FILE, STORE_SPILL, STORE_KINDS }; /* where a memory node keeps pages */
struct gm_beat_req {
	u64 incarnation;
	u64 used_bytes;
	u64 total_bytes;
	u32 state; /* enum component_state */
	u32 nproc;
	u32 channels; /* open connections of processes */
	u32 spaces;   /* address spaces: of an md those it holds, of a pd those not yet known to be destroyed */
	u32 files;    /* of a pd: open files of its vNodes; of an sd: removed ones it keeps because they are open */
	u32 load;            /* a memory node: requests served since the last beat; a pd: its host's runnable threads, in hundredths */
	u64 committed_bytes; /* promised, used or not: a memory node: to address spaces; a pd: ExCache that its programs need not give back */
	/* since its start, to be shown */
	u64 bytes_in, bytes_out;	 /* in messages */
	u64 misses, fetches, miss_ns; /* a pd: of its programs; the time that misses took in all */
	u64 store_bytes; /* an md: memory that its page store takes on its host */
	u32 store;	 /* … and what kind that is: enum store_kind; 0 elsewhere */
	u32 pad0;
	u64 view; /* a pd: of the memory nodes, the last one it has; 0: none yet */
};
_Static_assert(sizeof(struct gm_beat_req) == 120, "wire");
struct proc_report {
	u64 asid;
	u32 pid;      /* in the vNode */
	u32 host_pid;
	u32 vnode;
	u32 pad0;
	u64 excache_bytes;  /* its share now */
	u64 excache_max_bytes;
	u64 resident_bytes; /* lines in ExCache */
	u64 remote_bytes;   /* held by memory nodes, as home reported to pd */
	u64 misses, fetches; /* so far */
	char home[WIRE_NAME_MAX];
	char command[64];
};
_Static_assert(sizeof(struct proc_report) == 168, "wire");
struct gm_beat_rep {
	u64 term;
	u32 known; /* 0: register again */
	u32 go;	   /* 1: it is to end: it was removed from the cluster */
	u64 view;  /* to a pd that has an older one: the number of the view that follows; 0: nothing follows */
	u32 nview; /* data: so many struct view_node */
	u32 pad0;
};
_Static_assert(sizeof(struct gm_beat_rep) == 32, "wire");
/* A view: the memory nodes that take work, and its number, which rises with every change (the manager's term is in the upper half). Files are cached
 * by it: two who have different ones cache an extent twice, and no worse, since leases keep any number of copies true. */
#define VIEW_MAX 1024u
struct view_node {
	char name[WIRE_NAME_MAX];
	char addr[WIRE_ADDR_MAX];
	u32 pad0;
	u64 incarnation;
};
_Static_assert(sizeof(struct view_node) == 152, "wire");

/* Where a new program goes. -EAGAIN: nothing has room just now (`why` says what is short, and where). */
struct gm_place_req {
	u64 excache_bytes; /* 0: default */
	u32 replicas;
	u32 replica_mode; /* enum replica_mode */
	char vnode[WIRE_NAME_MAX]; /* empty: "default" */
	char node[WIRE_NAME_MAX];  /* wanted pComponent, or empty */
	char on[WIRE_LABELS_MAX];  /* labels that the pComponent must have, beside those that the vNode wants */
};
_Static_assert(sizeof(struct gm_place_req) == 176, "wire");
struct node_ref {
	char name[WIRE_NAME_MAX];
	char addr[WIRE_ADDR_MAX];
	u32 epoch; /* of the chain this node heads (memory) */
};
_Static_assert(sizeof(struct node_ref) == 144, "wire");

/* A chain: two memory nodes that keep the same address spaces, an owner that serves them and a standby that takes the same writes and
 * layout operations. The manager writes it down before it tells anyone; whoever hears of a higher epoch believes it. A member is one start
 * of a node (its incarnation): what starts again holds nothing. */
enum chain_flags {
	CHAIN_SYNC = 1, /* the standby holds all: it may be promoted */
	CHAIN_LOST = 2, /* the owner died without such a standby */
	CHAIN_ALONE = 4, /* of a space with one copy: it has a standby only while it moves */
	CHAIN_BEST_EFFORT = 8, /* a standby that lags is left out rather than waited for */
	CHAIN_GONE = 16,	 /* no space is on it any more: it may be forgotten */
};
enum replica_mode { REPLICA_STRICT, REPLICA_BEST_EFFORT };
struct chain_info {
	u32 id; /* 0: none, the space is kept by one node */
	u32 epoch;
	u32 flags; /* enum chain_flags */
	u32 pad0;
	u64 owner_incarnation, standby_incarnation;
	struct node_ref owner, standby; /* an empty name: none */
};
_Static_assert(sizeof(struct chain_info) == 320, "wire");
/* GM_CHAIN: how it stands. From the owner with CHAIN_FILLED: the standby of this epoch holds all. With CHAIN_BROKEN: the asker's connection to
 * a member broke; one whose own line to the manager is broken too is given up at once. From the owner with CHAIN_FAILED: the standby of this
 * epoch cannot be filled (it is full). From a pd with CHAIN_LAGS: its process waits for the standby of this epoch; heard for CHAIN_BEST_EFFORT. */
enum chain_ask { CHAIN_FILLED = 1, CHAIN_BROKEN = 2, CHAIN_FAILED = 4, CHAIN_LAGS = 16, CHAIN_OVER = 8 /* from pd: the last space on a chain of its own has ended */ };
struct gm_chain_req {
	u32 id;
	u32 epoch;
	u32 flags; /* enum chain_ask */
	u32 pad0;
};
_Static_assert(sizeof(struct gm_chain_req) == 16, "wire");

struct gm_place_rep {
	u32 vnode_id;
	u32 pad0;
	struct node_ref processor, memory, storage;
	struct chain_info chain; /* with replicas; its owner is `memory` */
	char why[WIRE_WHY_MAX];	 /* of a refusal, where there is more to say than the status */
};
_Static_assert(sizeof(struct gm_place_rep) == 920, "wire");

struct gm_ids_req { /* a range of numbers never handed out before */
	u32 what;   /* 0: asid */
	u32 count;
};
_Static_assert(sizeof(struct gm_ids_req) == 8, "wire");
struct gm_ids_rep {
	u64 first;
	u64 count;
};
_Static_assert(sizeof(struct gm_ids_rep) == 16, "wire");

/* GM_REGIONS, from a home: nodes for `count` vRegions that will be charged `bytes` each. Reply data: `count` node_refs. Nodes named in
 * `avoid` (they just said that they are full) come only when there is no other. With `from`: for a piece that leaves that node because it is
 * fuller than the manager wants it; -EAGAIN: it may stay for now. */
#define REGIONS_MAX 64u
struct gm_regions_req {
	u64 bytes;
	u32 count; /* 1 .. REGIONS_MAX */
	u32 navoid;
	char avoid[8][WIRE_NAME_MAX];
	char from[WIRE_NAME_MAX]; /* or empty */
	u32 vnode;		  /* whose memory it is */
	u32 pad0;
};
_Static_assert(sizeof(struct gm_regions_req) == 312, "wire");
struct gm_regions_rep {
	u32 count;
	u32 pad0;
};
_Static_assert(sizeof(struct gm_regions_rep) == 8, "wire");
/* GM_MOVE, from pd: a chain on which a space that is at `owner` alone, which drains or is too full, may move to another node. -EAGAIN: it may
 * stay for now. */
struct gm_move_req {
	char owner[WIRE_NAME_MAX];
	u64 bytes; /* what it needs there */
	u32 vnode; /* whose memory it is */
	u32 pad0;
};
_Static_assert(sizeof(struct gm_move_req) == 48, "wire");
struct gm_node_req { /* GM_NODE: where a component is to be found */
	char name[WIRE_NAME_MAX];
};
_Static_assert(sizeof(struct gm_node_req) == 32, "wire");
/* GM_NODE_SET. REMOVE: told to end with its next beat, or forgotten at once where nothing is heard of it; -EBUSY: in use, and not forced. */
enum node_what { NODE_DRAIN, NODE_UNDRAIN, NODE_REMOVE };
struct gm_node_set_req {
	char name[WIRE_NAME_MAX];
	u32 what; /* enum node_what */
	u32 force;
};
_Static_assert(sizeof(struct gm_node_set_req) == 40, "wire");

/* GM_EVENTS: what happened in the cluster, from a number on; the manager keeps the last GM_EVENTS_KEPT. Reply data: struct gm_event. */
#define GM_EVENTS_KEPT 1024u
struct gm_events_req {
	u64 from; /* 0: from the oldest that is kept */
	u32 max;
	u32 pad0;
};
_Static_assert(sizeof(struct gm_events_req) == 16, "wire");
struct gm_events_rep {
	u64 next;	/* to ask for then */
	u64 lost;	/* older ones that are not kept any more */
};
_Static_assert(sizeof(struct gm_events_rep) == 16, "wire");
struct gm_event {
	u64 seq; /* rises over restarts of the manager: its term is in the upper half */
	u64 wall_ns;
	u32 level; /* enum log_level */
	u32 pad0;
	char what[16];		  /* "joined", "down", … */
	char name[WIRE_NAME_MAX]; /* of whom */
	char text[96];
};
_Static_assert(sizeof(struct gm_event) == 168, "wire");

/* GM_STATUS: empty request; reply data is the JSON text of DESIGN's `status --json`, no NUL.
 * GM_VNODE: makes, finds or removes a vNode; the reply names its number, its storage node and what it may have. */
struct vnode_spec {
	u64 memory_bytes;  /* commit limit of each of its processes, and what all may hold before no more are placed; 0: none */
	u64 excache_bytes; /* of its processes on one pComponent together; 0: none */
	u32 cpus;	   /* cores of each pComponent that its programs are started on; 0: all */
	u32 replicas;
	u32 own_net; /* 1: a network namespace and address of its own; 0: the host's network */
	u32 storage_mib; /* what its private layer may hold; 0: no limit */
	char ip[16];			/* its address on the pComponent of seat 0; on seat n it is n higher */
	char storage[WIRE_NAME_MAX]; /* empty: the manager chooses */
	char image[112];		/* shown read-only below its private layer: a host directory of the storage node, or without a slash
						   the name of an image there; empty: "/" */
	char on[3][WIRE_LABELS_MAX]; /* labels of the processor, memory and storage nodes it may be put on; empty: any */
};
_Static_assert(sizeof(struct vnode_spec) == 480, "wire");
enum vnode_what { VNODE_FIND, VNODE_ENSURE, VNODE_CREATE, VNODE_REMOVE }; /* ENSURE: made when absent; CREATE: must be absent */
struct gm_vnode_req {
	char name[WIRE_NAME_MAX];
	u32 what; /* enum vnode_what */
	u32 pad0;
	struct vnode_spec spec; /* CREATE */
};
_Static_assert(sizeof(struct gm_vnode_req) == 520, "wire");
struct gm_vnode_rep {
	u32 id;
	u32 seat; /* of the pComponent that asks: 0 .. VNODE_SEATS-1, its own for ever */
	struct node_ref storage;
	struct vnode_spec spec;
	char why[WIRE_WHY_MAX]; /* as in gm_place_rep */
};
_Static_assert(sizeof(struct gm_vnode_rep) == 792, "wire");
/* Each pComponent has a seat: its share of every vNode's pids and addresses. */
#define VNODE_SEATS 64u
#define VNODE_SEAT_PIDS 65536u

struct gm_seat_req {
	u32 seat;
	u32 pad0;
};
_Static_assert(sizeof(struct gm_seat_req) == 8, "wire");
struct gm_seat_rep { /* -ENOENT: nobody's, or it is not up */
	struct node_ref processor;
};
_Static_assert(sizeof(struct gm_seat_rep) == 144, "wire");
/* GM_PROCS: a vNode's processes on other pComponents than the one that asks, as last reported. Reply data: struct remote_proc, by rising pid. */
struct gm_procs_req {
	u32 vnode;
	u32 pad0;
};
_Static_assert(sizeof(struct gm_procs_req) == 8, "wire");
struct remote_proc {
	u32 pid;
	u32 pad0;
	u64 resident_bytes;
	char command[32];
};
_Static_assert(sizeof(struct remote_proc) == 48, "wire");

/* ------------------------------------------------------------------ memory */

enum as_prot { AS_READ = 1, AS_WRITE = 2, AS_EXEC = 4 }; /* same bits as PROT_* */
enum as_map_flags {
	AS_MAP_FILE = 1u << 0,      /* filled from `file` at `file_off` */
	AS_MAP_NORESERVE = 1u << 1, /* charged by AS_CHARGE, 2 MiB at a time, at first touch; a new mapping begins uncharged */
	AS_MAP_HEAP = 1u << 2,
	AS_MAP_STACK = 1u << 3,
};

/* A file for those that may read it: made by the sd, opaque to everyone else, MAC under a key of the sd.
 * (Not called file_handle: <fcntl.h> has a struct of that name.) */
struct file_ref {
	u64 id[2];  /* stable file id; survives rename, unlink of an open file and restarts of the sd */
	u64 change; /* change attribute when the handle was made */
	u32 vnode;
	u32 rights; /* enum file_rights */
	u8 mac[16];
};
_Static_assert(sizeof(struct file_ref) == 48, "wire");
enum file_rights { FILE_R = 1, FILE_W = 2 };

/* MEM_CHAIN, from the manager to memory nodes: struct chain_info, see above; no reply is waited for. */

/* MEM_DRAIN, from the manager to memory nodes, whose homes move their vRegions away from that node, or no longer, and to processor nodes, which
 * move the homes; no reply is waited for. */
enum drain_how {
	DRAIN_NOT,
	DRAIN_ALL,  /* it is to be empty */
	DRAIN_SOME, /* it is too full: pieces leave it as the manager allows, one by one */
};
struct mem_drain_req {
	char name[WIRE_NAME_MAX];
	u32 on; /* enum drain_how */
	u32 pad0;
};
_Static_assert(sizeof(struct mem_drain_req) == 40, "wire");
/* Owner-side life of an address space: from pd only. Of one that is there and has become the owner's by a change of its chain: pd takes
 * it over from the old owner. Of one that is at this node alone, with a chain: it is on that chain from now on (-EXDEV: it is not; -WIRE_WAIT).
 * -ESRCH: only what was there was meant (ASC_THERE), and this owner of its chain has it no more. */
struct as_create_req {
	u64 asid;
	u32 vnode;
	u32 uid;
	u64 limit_bytes; /* commit limit; 0: none but the node's */
	struct node_ref storage; /* where its file mappings are filled from */
	u32 flags;		 /* ASC_… */
	u32 pad;
	struct chain_info chain;
};
_Static_assert(sizeof(struct as_create_req) == 496, "wire");
#define ASC_STAYS 1u /* all of it at its home, whatever the policy: who uses it speaks to home alone */
#define ASC_THERE 2u /* it is there: none is made */
struct as_clone_req {
	u64 parent;
	u64 child;
	u64 lseq; /* the parent's last layout operation: must have been applied. The child's own go on at lseq + 1 */
};
_Static_assert(sizeof(struct as_clone_req) == 24, "wire");
struct as_destroy_req {
	u64 asid;
};
_Static_assert(sizeof(struct as_destroy_req) == 8, "wire");
struct as_stat_rep { /* AS_STAT: request as_destroy_req (asid), from pd */
	u64 committed_bytes;
	u64 lines;     /* lines it holds, shared ones counted once per space, all-zero ones too */
	u64 zero_lines;
	u64 vmas;
};
_Static_assert(sizeof(struct as_stat_rep) == 32, "wire");
/* MEM_READER, from pd: a process that reads files here without having memory here, or (on 0) does no longer. Its channels are ROLE_READER and take
 * MEM_FILE_READ only. */
struct mem_reader_req {
	u64 asid;
	u32 vnode;
	u32 on;
	struct node_ref storage; /* where its files are */
};
_Static_assert(sizeof(struct mem_reader_req) == 160, "wire");

/* Layout operations: from the process, one outstanding per address space, numbered by lseq (1, 2, …). A repeated lseq gets
 * the stored reply; one that failed has used up its number too. All addresses and lengths are multiples of LINE_SIZE and chosen by the monitor. */
struct as_mmap_req {
	u64 lseq;
	u64 addr, len; /* replaces whatever was there */
	u32 prot;      /* enum as_prot */
	u32 flags;     /* enum as_map_flags */
	u64 file_off;
	u64 file_len; /* bytes of the mapping that lie in the file's pages; lines past it read as zero */
	struct file_ref file;
};
_Static_assert(sizeof(struct as_mmap_req) == 96, "wire");
struct as_range_req { /* AS_MUNMAP, AS_DISCARD (madvise DONTNEED: contents go, mapping stays), AS_CHARGE */
	u64 lseq;
	u64 addr, len;
};
_Static_assert(sizeof(struct as_range_req) == 24, "wire");
struct as_mprotect_req {
	u64 lseq;
	u64 addr, len;
	u32 prot;
	u32 pad0;
};
_Static_assert(sizeof(struct as_mprotect_req) == 32, "wire");
struct as_mremap_req { /* moves [addr, addr+old_len) to new_addr, grown or cut to new_len; the target is replaced */
	u64 lseq;
	u64 addr, old_len;
	u64 new_addr, new_len;
};
_Static_assert(sizeof(struct as_mremap_req) == 40, "wire");
struct as_layout_rep {
	u64 lseq;
	u64 committed_bytes;
};
_Static_assert(sizeof(struct as_layout_rep) == 16, "wire");

/* AS_WHERE, asked of home: who owns the vRegions round addr. Every vRegion in [lo, hi) has that owner; one that holds nothing yet counts as
 * home's. An owner that no longer is answers MEM_FETCH and MEM_WRITEBACK with -WIRE_MOVED, and the process asks again. */
struct as_where_req {
	u64 addr;
};
_Static_assert(sizeof(struct as_where_req) == 8, "wire");
struct as_where_rep {
	u64 lo, hi;
	char name[WIRE_NAME_MAX];
	char standby[WIRE_NAME_MAX]; /* write-backs go there too; empty: none */
	u32 epoch; /* of the owner's chain; goes in the header of requests to it */
	u32 chain; /* its number; 0: one node alone */
};
_Static_assert(sizeof(struct as_where_rep) == 88, "wire");

/* Between memory nodes: home keeps the whole layout of an address space and drives its parts at the owners. PART_OPEN (as_create_req) makes
 * an empty part; PART_APPLY is home's ordered stream to it: seq rises by one, a repeated one gets the stored reply, one is outstanding.
 * Destroyed and asked by AS_DESTROY and AS_STAT. */
enum part_kind {
	PART_RESERVE = 1, /* lo: bytes to set aside for the charges of the operation that follows; -ENOMEM: no room */
	PART_TAKE = 2,    /* owns [lo, hi) from here on, which holds the ranges that follow and no lines. data: `count` as_vma */
	PART_INSTALL = 3, /* [lo, hi) holds the ranges that follow and no lines. data: `count` as_vma */
	PART_LAYOUT = 4,  /* count: the opcode; data: its request, cut to what the part owns */
	PART_WRITE = 5,   /* lines of another part. data: as MEM_WRITEBACK's */
	PART_CLONE = 6,   /* lo: asid of the copy */
	PART_DROP = 7,    /* owns [lo, hi) no longer, and holds nothing of it */
	/* To a standby, whose owner has the space as a whole: */
	PART_MIRROR = 8,  /* the layout operation count, done as at the owner. data: its request. count 0: nothing */
	PART_FILL = 9,    /* [lo, hi) of the whole layout holds the ranges that follow. data: `count` as_vma */
	PART_STATE = 10,  /* all of the layout has come. data: struct part_state */
	/* Of a vRegion, or a piece of one, that moves: */
	PART_SEAL = 11,  /* [lo, hi) answers -WIRE_WAIT from here on; empty: nothing does any more */
	PART_FENCE = 12, /* what the source remembers of repeats that are too late. data: `count` part_fence */
};
enum part_flags {
	PART_RELEASE = 1, /* give back what is left of the reservation */
	PART_MOVES = 2,   /* PART_TAKE: the lines follow, so write-backs that are still unanswered count */
};
struct part_req {
	u64 asid;
	u64 seq;
	u32 kind;  /* enum part_kind */
	u32 flags; /* enum part_flags */
	u32 count;
	u32 epoch; /* to a standby: of the chain */
	u64 lo, hi;
};
_Static_assert(sizeof(struct part_req) == 48, "wire");
struct part_state { /* what the owner keeps of a space beside ranges and lines */
	u64 lseq; /* last layout operation, and its stored reply */
	u64 rep_lseq, rep_committed_bytes;
	s32 last_status;
	u32 last_op;
	u64 parent, clone_lseq;
	u64 max_version;
};
_Static_assert(sizeof(struct part_state) == 56, "wire");
struct part_rep {
	u64 seq;
	u64 committed_bytes;
};
_Static_assert(sizeof(struct part_rep) == 16, "wire");
struct as_vma {
	u64 start, end;
	u32 prot, flags; /* as the owner keeps them */
	u64 file_off, file_end;
	struct file_ref file;
};
_Static_assert(sizeof(struct as_vma) == 88, "wire");
struct part_fence { /* images of [lo, hi) up to this version are repeats of what is over */
	u64 lo, hi;
	u64 version;
};
_Static_assert(sizeof(struct part_fence) == 24, "wire");
enum part_read_what { PART_LINES, PART_FENCES };
struct part_read_req { /* PART_READ: the first WB_MAX_LINES lines that [lo, hi) holds, or the fences in it */
	u64 asid;
	u64 lo, hi;
	u32 what; /* enum part_read_what */
	u32 pad0;
};
_Static_assert(sizeof(struct part_read_req) == 32, "wire");
struct part_read_rep { /* then count wb_line and their bytes, as MEM_WRITEBACK's; or count part_fence */
	u64 next; /* where to go on; hi: that was all */
	u32 count;
	u32 pad0;
};
_Static_assert(sizeof(struct part_read_rep) == 16, "wire");

/* MEM_FETCH: bit i of `want` asks for the line at addr + i * LINE_SIZE; ticket of line i is ticket + i.
 * Reply: mem_fetch_rep, then LINE_SIZE bytes for every bit of `data`, in rising order.
 *   data: bytes follow · zero: an all-zero line · no_line: the owner lacks it and it is not a file line
 *   Every wanted bit is in exactly one of the three masks, or in none: skipped (prefetch not served), still ABSENT.
 * Bit `demand` is the line the thread waits for: it is never skipped. */
struct mem_fetch_req {
	u64 addr;
	u64 want;
	u64 ticket;
	u32 demand; /* bit number */
	u32 pad0;
};
_Static_assert(sizeof(struct mem_fetch_req) == 32, "wire");
struct mem_fetch_rep {
	u64 addr;
	u64 ticket;
	u64 data, zero, no_line;
};
_Static_assert(sizeof(struct mem_fetch_rep) == 40, "wire");

/* MEM_WRITEBACK: mem_writeback_req, `count` struct wb_line, then LINE_SIZE bytes for every line without WB_ZERO, in order.
 * Reply: mem_writeback_rep; committed bit i: line i is held (or a newer one is). */
struct mem_writeback_req {
	u32 count; /* 1 .. WB_MAX_LINES */
	u32 pad0;
};
_Static_assert(sizeof(struct mem_writeback_req) == 8, "wire");
enum wb_flags { WB_ZERO = 1 };
struct wb_line {
	u64 addr;
	u64 version; /* per process, rising; an older or equal one is dropped and answered as success */
	u32 flags;   /* enum wb_flags */
	u32 crc;     /* CRC-32C of the line's bytes; 0 with WB_ZERO */
};
_Static_assert(sizeof(struct wb_line) == 24, "wire");
struct mem_writeback_rep {
	u64 committed;
	u64 refused; /* line lies in no mapping: dropped (a munmap overtook it) */
};
_Static_assert(sizeof(struct mem_writeback_rep) == 16, "wire");

/* MEM_FILE_READ, from a process: an SD_READ answered from the memory node's file cache where that may. Request and reply as SD_READ's,
 * after struct sd_io_req below. -WIRE_MOVED: ask the storage node. A large file is read by extents, each at the node that base/place.h names: such a
 * request has SDIO_EXTENT and does not go past its extent's end. MEM_FILE_RECALL, from a storage node: the file is about to change,
 * nothing of it is served any more. */
struct mem_recall_req {
	u64 id[2];
	u32 vnode;
	u32 pad0;
};
_Static_assert(sizeof(struct mem_recall_req) == 24, "wire");

/* ------------------------------------------------------------------ storage */

struct file_attr {
	u64 id[2];
	u64 change; /* differs whenever data or attributes changed */
	u64 ino;
	u64 size;
	u64 blocks; /* of 512 bytes */
	u32 mode;   /* S_IF… and permission bits, Linux values */
	u32 nlink;
	u32 uid, gid;
	u64 rdev;
	u32 blksize;
	u32 dev; /* number of the file system inside the vNode */
	s64 atime_ns, mtime_ns, ctime_ns, btime_ns; /* since the epoch */
};
_Static_assert(sizeof(struct file_attr) == 112, "wire");

/* Every path request starts with this; `len` bytes of path (no NUL) follow the fixed part, then `len2` bytes of a second
 * path (link target, new name, symlink contents) where the op has one, then data where it has any.
 * Paths are absolute inside the vNode; links are followed inside its tree; ".." cannot leave it. */
struct sd_path_req {
	u32 len, len2;
	u32 flags; /* enum sd_path_flags, or the op's */
	u32 mode;  /* creation mode after umask, or access mask; OPEN_READ: bytes of the file's beginning that are wanted */
	u64 arg;   /* the op's: rdev of MKNOD, RENAME_* flags, O_* flags of OPEN */
	u32 uid, gid; /* owner of what is created; checked against the channel's */
};
_Static_assert(sizeof(struct sd_path_req) == 32, "wire");
enum sd_path_flags {
	SDP_NOFOLLOW = 1,     /* do not follow a link in the last component */
	SDP_DIRECTORY = 2,    /* must be a directory (trailing slash, rmdir for UNLINK) */
	SDP_BENEATH = 4,      /* openat2's RESOLVE_* */
	SDP_NO_SYMLINKS = 8,
	SDP_BY_ID = 16, /* "path" is the 16-byte file id: LINK from an open file, SETATTR, GETATTR … */
	SDP_STATUS = 32, /* SETATTR by id: only whether it was done is wanted, the reply is zeros */
};
struct sd_open_rep { /* SD_OPEN, SD_OPEN_ID, SD_STAT (rights 0 in handle) ; then the resolved path (no NUL) as data; OPEN_READ: then file data */
	struct file_ref handle;
	struct file_attr attr;
	u32 created; /* enum sd_created */
	u32 path_len;
};
_Static_assert(sizeof(struct sd_open_rep) == 168, "wire");
enum sd_created {
	SD_CREATED = 1, /* this request made it */
	SD_ROOMY = 2,   /* and there is so much room that what is written next is not refused for want of it */
};
struct sd_open_id_req {
	u64 id[2];
	u32 rights;
	u32 pad0;
};
_Static_assert(sizeof(struct sd_open_id_req) == 24, "wire");

struct sd_io_req { /* SD_READ (len wanted), SD_WRITE (data follows), SD_FSYNC, SD_FALLOCATE, SD_SEEK, SD_GETATTR, SD_READDIR */
	struct file_ref file;
	u64 off;
	u64 len;
	u32 flags; /* enum sd_io_flags; FALLOCATE: mode; SEEK: whence; FSYNC: enum sd_fsync_flags */
	u32 uid;   /* WRITE, FALLOCATE: who acts; checked against the channel's */
};
_Static_assert(sizeof(struct sd_io_req) == 72, "wire");
#define EXTENT_BYTES (2 * MIB)
enum sd_io_flags { SDIO_APPEND = 1, SDIO_SYNC = 2, SDIO_LEASE = 4 /* READ by a memory node: to keep what comes */,
		   SDIO_POSTED = 8 /* WRITE: the program goes on before the answer: nothing on this channel may overtake it */,
		   SDIO_EXTENT = 16 /* MEM_FILE_READ: what lies past this extent is read elsewhere */ };
/* SD_LOCK: the process's node may hold a lock on the file from now on: asked before the host's lock is taken, and again after, which makes it
 * valid. off, len (0: to the end) for a record; -EAGAIN: another node holds what conflicts. See storage/locks.c. */
enum sd_lock_flags { SDL_EXCLUSIVE = 1, SDL_RECORD = 2 /* else the whole file's, of flock */ };
enum sd_fsync_flags { SDF_DATA = 1, SDF_FS = 2 /* the whole file system the file lies on */ };
struct sd_io_rep {
	u64 n;        /* bytes done, or the offset found */
	u64 end;      /* WRITE: offset after the last byte written (APPEND: says where) */
	u64 size;     /* of the file, after */
	u64 change;   /* after */
	u64 verifier; /* WRITE, FSYNC: random per start of the sd; READ with SDIO_LEASE: how long it may be served, ns, from when it was asked */
};
_Static_assert(sizeof(struct sd_io_rep) == 40, "wire");

struct sd_setattr_req { /* then the path (len bytes), or with SDP_BY_ID 16 bytes of id, or a whole file_ref (SDA_SIZE by its right to write) */
	u32 len;
	u32 flags; /* enum sd_path_flags */
	u32 mask;  /* enum sd_attr_mask */
	u32 mode;
	u32 uid, gid;
	u64 size;
	s64 atime_ns, mtime_ns;
	u32 by_uid, by_gid; /* who acts; checked against the channel's */
};
_Static_assert(sizeof(struct sd_setattr_req) == 56, "wire");
enum sd_attr_mask {
	SDA_MODE = 1,
	SDA_UID = 2,
	SDA_GID = 4,
	SDA_SIZE = 8,
	SDA_ATIME = 16,
	SDA_MTIME = 32,
	SDA_ATIME_NOW = 64,
	SDA_MTIME_NOW = 128,
};

/* SD_READDIR: sd_io_req with off = cookie (0: start), len = bytes wanted; reply sd_io_rep with n = bytes of data, end = next
 * cookie, size = 1 at the end; data: records of sd_dirent, name without NUL, padded to 8 bytes. "." and ".." come first. */
struct sd_dirent {
	u64 ino;
	u64 cookie; /* of the entry after this one */
	u16 reclen; /* with padding */
	u8 type;    /* DT_… */
	u8 name_len;
	u32 pad0;
};
_Static_assert(sizeof(struct sd_dirent) == 24, "wire");

struct sd_statfs_rep {
	u64 type, bsize, blocks, bfree, bavail, files, ffree, namelen, frsize, flags;
};
_Static_assert(sizeof(struct sd_statfs_rep) == 80, "wire");

/* SD_VNODE, from pd or the command line: (re)defines a vNode's tree. Data: `nbind` records of sd_bind, each followed by its
 * two paths. lower and upper come first as two paths of the fixed part's lengths. */
struct sd_vnode_req {
	u32 vnode;
	u32 lower_len; /* host path shown read-only, or without a slash the name of an image; 0: none */
	u32 upper_len; /* host path of the private writable layer; 0: the sd makes one in its data directory */
	u32 nbind;
	u64 quota_bytes; /* what the private layer may hold; 0: no limit */
};
_Static_assert(sizeof(struct sd_vnode_req) == 24, "wire");
struct sd_bind {
	u32 host_len; /* host directory, bytes, no NUL */
	u32 dir_len;  /* where in the vNode */
	u32 readonly;
	u32 pad0;
};
_Static_assert(sizeof(struct sd_bind) == 16, "wire");

/* PD_LOCK_TEST, from a storage node on pd's own line: 0: nobody on the node holds a lock that conflicts; -EAGAIN: somebody does. */
struct pd_lock_req {
	u64 id[2];
	u64 start, end; /* inclusive */
	u32 vnode;
	u32 flags; /* enum sd_lock_flags */
};
_Static_assert(sizeof(struct pd_lock_req) == 40, "wire");

/* SD_OPEN_IDS, from each pd every beat: the files its vNodes hold open. Data: `count` file ids of 16 bytes. An orphan that is
 * in no report of two consecutive rounds of every live pd is deleted. */
struct sd_open_ids_req {
	u32 vnode;
	u32 count;
	u32 part, parts; /* a long list comes in several */
};
_Static_assert(sizeof(struct sd_open_ids_req) == 16, "wire");

/* SD_REVOKE, from pd when the last process of an address space is gone: channels that were opened for it are closed, whoever may hold their
 * descriptors now, a second after what was sent by them last. */
struct sd_revoke_req {
	u64 asid;
};
_Static_assert(sizeof(struct sd_revoke_req) == 8, "wire");

/* Pages that a memory node spills. SD_SPILL opens a spill for the connection it comes on, and no other; pages 0: it is over. It outlives its
 * connection by SPILL_LEASE_S, so that either node may lose the other and go on. */
#define SPILL_LEASE_S 60u
struct sd_spill_req {
	u64 id; /* chosen at random by the memory node */
	u64 pages; /* room for so many is taken at once */
};
_Static_assert(sizeof(struct sd_spill_req) == 16, "wire");
struct sd_spill_io_req { /* WRITE: then the page; the reply to READ: the page */
	u64 id;
	u64 page;
};
_Static_assert(sizeof(struct sd_spill_io_req) == 16, "wire");

struct sd_xattr_req { /* then path, then name, then value (SET) */
	u32 path_len, name_len;
	u32 value_len; /* SET: bytes that follow; GET, LIST: room */
	u32 flags;     /* enum sd_path_flags; bits 16…: XATTR_CREATE, XATTR_REPLACE */
	u32 uid, gid;  /* who acts; checked against the channel's */
};
_Static_assert(sizeof(struct sd_xattr_req) == 24, "wire");

/* SD_GROUPS, on a channel of root: the supplementary groups of who acts on it from here on. Data: `count` numbers of 4 bytes. */
struct sd_groups_req {
	u32 count;
	u32 pad0;
};
_Static_assert(sizeof(struct sd_groups_req) == 8, "wire");
#define SD_GROUPS_MAX 1024u

/* Images: read-only trees of the storage node's own that vNodes are made over. A command line sends one as records, over one connection:
 *   SD_IMAGE BEGIN · SD_IMAGE_PUT … · SD_IMAGE COMMIT        (the end of the connection before that leaves nothing)
 * Nobody sees the image before COMMIT was answered. SD_IMAGE_PUT's data are whole records, at most IMAGE_PUT_RECORDS, each
 *   struct image_rec │ path, len bytes │ second part, len2 bytes │ zeros up to a multiple of 8
 * Paths are relative to the image's root, "a/b": no empty, "." or ".." component; only DIR, DIR_SET and CLEAR may name the root (len 0).
 * No link is ever followed. The reply of LIST has a struct image_info for each. */
enum image_what { IMAGE_BEGIN = 1, IMAGE_COMMIT, IMAGE_REMOVE }; /* REMOVE: -EBUSY while a program runs on it */
struct sd_image_req {
	char name[WIRE_NAME_MAX];
	u32 what;   /* enum image_what */
	u32 layers; /* COMMIT: of how many it was made */
};
_Static_assert(sizeof(struct sd_image_req) == 40, "wire");
#define IMAGE_PUT_RECORDS 128u
struct sd_image_put_rep { /* error not 0: the import is over, by the record after those done */
	u32 done;
	s32 error;
};
_Static_assert(sizeof(struct sd_image_put_rep) == 8, "wire");
enum image_kind {	 /* what takes the place of what had the name before, but for a directory that is one already */
	IMAGE_DIR = 1,	 /* directories above that are absent are made */
	IMAGE_FILE,	 /* empty, then DATA records follow */
	IMAGE_DATA,	 /* second part: bytes of the file before, at offset `size`; no path */
	IMAGE_SYMLINK,	 /* second part: its contents */
	IMAGE_LINK,	 /* second part: path of a file or link that is there */
	IMAGE_FIFO,
	IMAGE_XATTR,	 /* of the file or directory before; no path; second part: name, NUL, value; user.* only, others are left out */
	IMAGE_DIR_SET,	 /* mode, owner and time of a directory whose contents are complete; ignored when it is not there */
	IMAGE_GONE,	 /* the name and all below it goes, where it is there */
	IMAGE_CLEAR,	 /* all below the directory goes */
};
struct image_rec {
	u32 kind; /* enum image_kind */
	u32 mode; /* permission bits */
	u32 uid, gid;
	u64 size; /* FILE: of the whole; DATA: offset */
	s64 mtime_ns;
	u32 len, len2;
};
_Static_assert(sizeof(struct image_rec) == 40, "wire");
struct image_info {
	char name[WIRE_NAME_MAX];
	u64 bytes, files; /* on disk; names of any kind */
	u64 made_ns;	  /* since the epoch */
	u32 layers;
	u32 busy; /* 1: a program runs on it */
};
_Static_assert(sizeof(struct image_info) == 64, "wire");

#include "spec/wire_pd.h"
#include "spec/wire_shm.h"

#endif
