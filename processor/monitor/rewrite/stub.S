/* Where a rewritten site jumps to, and back. One stub a site loads its number; rcx, like r11, is the system call's to spoil. Registers are
 * kept in the thread's area (mon.h), not on a stack, so a signal's frame cannot run over them; the program's stack is not touched.
 *
 * A signal that arrives here interrupts the monitor: it is recorded, and delivered before the program goes on. Between "nothing is
 * recorded" and the last instruction its handler sets RIP back to rewrite_exit_begin; at the last one all registers but RIP are the
 * program's, and RIP is in rcx (trap/handlers.c). What is recorded leaves by `hlt`: the frame of its fault has the vector registers, which
 * nothing here touches, and so becomes the program's context. */
#include "processor/monitor/rewrite/rewrite.h"

#define GS_PENDING 24
#define GS_TOP 56
#define GS_RSP 64
#define GS_FLAGS 72
#define GS_RET 80
#define GS_RESULT 88
#define GS_ARGS 96
#define FLAGS_BAD $0x40400 /* alignment check, direction */

	.text
	.globl rewrite_stubs, rewrite_stubs_end, rewrite_exit_begin, rewrite_exit_last, rewrite_leave
	.balign 64
rewrite_stubs:
	.set site, 0
	.rept REWRITE_SITES
	.byte 0xb9 /* mov $site*16,%ecx */
	.long site * 16
	.byte 0xe9 /* jmp rewrite_enter */
	.long rewrite_enter - . - 4
	.set site, site + 1
	.endr
rewrite_stubs_end:

	.balign 64
rewrite_enter:
	mov	%rsp, %gs:GS_RSP
	mov	%gs:GS_TOP, %rsp
	pushfq
	popq	%gs:GS_FLAGS
	mov	%rdi, %gs:GS_ARGS
	mov	%rsi, %gs:GS_ARGS+8
	mov	%rdx, %gs:GS_ARGS+16
	mov	%r10, %gs:GS_ARGS+24
	mov	%r8, %gs:GS_ARGS+32
	mov	%r9, %gs:GS_ARGS+40
	lea	rewrite_sites(%rip), %r11
	mov	(%r11,%rcx), %rax
	mov	8(%r11,%rcx), %edi
	mov	%rax, %gs:GS_RET
	testl	FLAGS_BAD, %gs:GS_FLAGS
	jnz	2f
1:	call	rewrite_call
	mov	%rax, %gs:GS_RESULT
rewrite_exit_begin:
	mov	%gs:GS_TOP, %rsp
	cmpl	$0, %gs:GS_PENDING
	jne	rewrite_leave
	mov	%gs:GS_ARGS, %rdi
	mov	%gs:GS_ARGS+8, %rsi
	mov	%gs:GS_ARGS+16, %rdx
	mov	%gs:GS_ARGS+24, %r10
	mov	%gs:GS_ARGS+32, %r8
	mov	%gs:GS_ARGS+40, %r9
	mov	%gs:GS_RET, %rcx
	mov	%gs:GS_RESULT, %rax
	mov	%gs:GS_FLAGS, %r11
	push	%r11
	popfq
	mov	%gs:GS_RSP, %rsp
rewrite_exit_last:
	jmp	*%rcx
rewrite_leave:
	hlt
	ud2
2:	pushq	$2
	popfq
	jmp	1b
