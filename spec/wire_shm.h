/* What processes and the pager of their shared memory say to each other: the last part of wire.h, which includes it. */
#ifndef LEGO_SPEC_WIRE_SHM_H
#define LEGO_SPEC_WIRE_SHM_H

#include "spec/wire.h"

/* PD_SHM: pd_space_req; the reply carries one fd: the process's own SOCK_SEQPACKET socket to the pager of its vNode on this node. Frames
 * there are as everywhere, one request outstanding at a time. The pager knows objects (memfds, files of /dev/shm, System V segments,
 * lego files mapped shared) by number; a number is good in the vNode while the object lives.
 *   ATTACH  fd: the userfaultfd of the address space. Data: struct shm_range of what is mapped already (a fork's child).
 *   OPEN    flags SHM_NEW: a new one of len bytes. SHM_FD: that of the fd that comes along. SHM_FILE: the lego file, its entry's fd comes
 *           along. Else: object. Reply: object, size, and with SHM_WANT_FD an fd of it, readable and writable.
 *   MAP     object is mapped at [addr, addr + len) from off: mapped inaccessibly and registered before this is sent.
 *   UNMAP   nothing of [addr, addr + len) is mapped any more.
 *   FAULT   the line at off is wanted. Status -EFAULT: past the end. After 0 it is there, and not protected, for a moment.
 *   READ, WRITE, CHANGE, SYNC  as the SD_ ones of those names, on an object; -ESTALE: a lego file that nobody has mapped any more.
 *   SYSV    shmget, shmat, shmctl: flags says which, object is the id. */
struct shm_req {
	u64 object;
	u64 off, len;
	u64 addr;
	u32 flags; /* enum shm_flags; READ, WRITE: enum sd_io_flags; CHANGE: enum shm_change; SYNC: 1 = durable; SYSV: enum shm_sysv */
	u32 mode;  /* CHANGE: of fallocate, whence of SEEK; SYSV: shmflg or command */
	u32 uid, gid, pid;
	u32 key; /* SYSV */
	struct file_ref file;
};
_Static_assert(sizeof(struct shm_req) == 104, "wire");
enum shm_flags { SHM_NEW = 1, SHM_FD = 2, SHM_FILE = 4, SHM_WANT_FD = 8, SHM_PROTECTED = 16 };
enum shm_change { SHM_TRUNCATE = 1, SHM_FALLOCATE, SHM_SEEK, SHM_SEAL };
enum shm_sysv { SHM_GET = 1, SHM_AT, SHM_CTL, SHM_NEXT };
struct shm_rep {
	u64 object;
	u64 n; /* as in struct sd_io_rep */
	u64 end;
	u64 size;
	u64 change;
	u64 verifier;
};
_Static_assert(sizeof(struct shm_rep) == 48, "wire");
struct shm_range {
	u64 object, addr, len, off;
};
_Static_assert(sizeof(struct shm_range) == 32, "wire");

#endif
