/* Argument kinds of spec/syscalls.def. Included where the table is expanded, nowhere else: the names are short.
 *
 * Scalars say how a value is printed. Pointers say what lies behind, so that the generic pass-through can bounce it:
 *   IN(n) OUT(n) INOUT(n)   n bytes; NULL stays NULL
 *   INBUF(k) OUTBUF(k)      argument k bytes; OUTBUF: as many come back as the result says. OUTFIX(k): all of them
 *   INARR OUTARR IOARR(k, n) argument k elements of n bytes
 *   IOV(k)                  argument k struct iovec: bodies only
 *   PTR                     a program address the kernel does not follow, or a body does */
#ifndef LEGO_MONITOR_SYS_ARGS_H
#define LEGO_MONITOR_SYS_ARGS_H

#include "processor/monitor/sys/row.h"

#define ARG(kind, k, size) {ARG_##kind, k, size}
#define FD ARG(FD, 0, 0)
#define DIRFD ARG(DIRFD, 0, 0)
#define INT ARG(INT, 0, 0)
#define UINT ARG(UINT, 0, 0)
#define HEX ARG(HEX, 0, 0)
#define OCT ARG(OCT, 0, 0)
#define LEN ARG(LEN, 0, 0)
#define OFF ARG(OFF, 0, 0)
#define PTR ARG(PTR, 0, 0)
#define PATH ARG(PATH, 0, 0)
#define STR ARG(STR, 0, 0)
#define SIG ARG(SIG, 0, 0)
#define ARGV ARG(ARGV, 0, 0)
#define SIGSET ARG(SIGSET, 0, 8)
#define FLAGS(set) ARG(FLAGS, FLAGSET_##set, 0)
#define IN(n) ARG(IN, 0, n)
#define OUT(n) ARG(OUT, 0, n)
#define INOUT(n) ARG(INOUT, 0, n)
#define INBUF(k) ARG(INARR, k, 1)
#define OUTBUF(k) ARG(OUTBUF, k, 1)
#define OUTFIX(k) ARG(OUTARR, k, 1)
#define INARR(k, n) ARG(INARR, k, n)
#define OUTARR(k, n) ARG(OUTARR, k, n)
#define IOARR(k, n) ARG(IOARR, k, n)
#define IOV(k) ARG(IOV, k, 16)

#define BODY HOW_BODY, 0
#define PASS HOW_PASS, 0
#define PASS_FD HOW_PASS_FD, 0
#define WAIT HOW_WAIT, 0
#define WAIT_EINTR HOW_WAIT_EINTR, 0
#define REFUSE(e) HOW_REFUSE, -(e)

#endif
