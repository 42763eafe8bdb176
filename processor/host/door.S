/* The door to the host kernel. Syscall User Dispatch lets only this page make system calls, so every host call of the monitor and
 * every way back into the program is here. */
	.section .sysc, "ax"

/* s64 host_raw(nr, a, b, c, d, e, f) */
	.globl host_raw
host_raw:
	mov	%rdi, %rax
	mov	%rsi, %rdi
	mov	%rdx, %rsi
	mov	%rcx, %rdx
	mov	%r8, %r10
	mov	%r9, %r8
	mov	8(%rsp), %r9
	syscall
	ret

/* s64 host_wait(nr, a, b, c, d, e, f): gives -EINTR when a signal is recorded. A signal that comes between the check and the
 * instruction finds its RIP in [host_wait_check, host_wait_end) and sets it to host_wait_abort (trap/handlers.c). */
	.globl host_wait, host_wait_check, host_wait_end, host_wait_abort
host_wait:
	mov	%rdi, %rax
	mov	%rsi, %rdi
	mov	%rdx, %rsi
	mov	%rcx, %rdx
	mov	%r8, %r10
	mov	%r9, %r8
	mov	8(%rsp), %r9
host_wait_check:
	cmpl	$0, %gs:24
	jne	host_wait_abort
	syscall
host_wait_end:
	ret
host_wait_abort:
	movl	$1, %gs:44
	mov	$-4, %rax
	ret

/* s64 host_clone(flags, stack, ptid, ctid, tls, fn, arg): the child calls fn(arg) on the new stack and never returns. */
	.globl host_clone
host_clone:
	and	$-16, %rsi
	sub	$16, %rsi
	mov	%r9, (%rsi)
	mov	8(%rsp), %rax
	mov	%rax, 8(%rsi)
	mov	%rcx, %r10
	mov	$56, %eax
	syscall
	test	%rax, %rax
	jz	1f
	ret
1:	xor	%ebp, %ebp
	pop	%rax
	pop	%rdi
	call	*%rax
	ud2

/* Handlers. At entry RSP points at the signal frame (its return address, then ucontext). The C part returns 0 to go back by
 * rt_sigreturn alone (into the monitor), 1 to leave for the program: then recorded signals are delivered first. A signal that came
 * between "nothing is recorded" and the program's first instruction would be forgotten until the next trap, so an asynchronous
 * handler that interrupts [exit_begin, exit_end) sets RIP back to exit_begin, which starts again from the ucontext kept in GS; at
 * exit_last every register but RIP is the program's already, so there the handler takes the context as the program's.
 *
 * Three ways out, chosen by exit_mode (enum boot_exit): rt_sigreturn; iretq; and RSP, RIP from GS slots. The last two restore no
 * signal mask: a frame whose mask changed (thread.exit_slow, cleared by the next trap from the program) leaves by rt_sigreturn. Nothing above RSP is written, so that a
 * signal's own frame, pushed below RSP, never overwrites the one being left. */
#define GS_RSP 0
#define GS_RIP 8
#define GS_SELF 16
#define GS_PENDING 24
#define GS_UC 32
#define GS_SLOW 40
#define GS_MASK 48

	.macro ENTRY name, handler
	.globl \name
\name:
	pushq	$2			/* the kernel clears the direction flag, but not alignment check */
	popfq
	sub	$8, %rsp
	call	\handler
	add	$16, %rsp
	test	%eax, %eax
	jz	exit_plain
	mov	%rsp, %gs:GS_UC
	jmp	exit_begin
	.endm

	ENTRY entry_sigsys, on_sigsys
	ENTRY entry_sigbus, on_sigbus
	ENTRY entry_sigsegv, on_sigsegv

/* The asynchronous handlers run with everything masked: only rt_sigreturn gives the mask back. */
	.globl entry_async
entry_async:
	pushq	$2
	popfq
	sub	$8, %rsp
	call	on_async
	add	$16, %rsp
	test	%eax, %eax
	jz	exit_plain
	movl	$1, %gs:GS_SLOW
	mov	%rsp, %gs:GS_UC
	jmp	exit_begin

/* _Noreturn exit_frame(uc): leaves through a frame that is not at RSP (a new thread's). */
	.globl exit_frame
exit_frame:
	movl	$1, %gs:GS_SLOW
	mov	%rdi, %gs:GS_UC
	.globl exit_begin, exit_last, host_restorer
exit_begin:
	mov	%gs:GS_UC, %rsp
	cmpl	$0, %gs:GS_PENDING
	jne	exit_deliver
	mov	296(%rsp), %rax		/* the mask it leaves with; a rewritten call has no frame that says it */
	mov	%rax, %gs:GS_MASK
	cmpl	$0, %gs:GS_SLOW
	jne	exit_sigreturn
	mov	exit_mode(%rip), %eax
	test	%eax, %eax
	jz	exit_sigreturn
	testl	$0x100, 176(%rsp)	/* a program that steps itself: popfq would step the monitor */
	jnz	exit_sigreturn
	mov	224(%rsp), %rdi		/* fpstate, with the frame's own feature mask */
	test	%rdi, %rdi
	jz	exit_sigreturn
	cmpl	$0x46505853, 464(%rdi)
	jne	exit_sigreturn
	mov	%eax, %ecx
	mov	472(%rdi), %eax
	mov	476(%rdi), %edx
	xrstor64 (%rdi)
	cmp	$1, %ecx
	je	exit_iretq

	mov	160(%rsp), %rcx
	mov	%rcx, %gs:GS_RSP
	mov	168(%rsp), %rcx
	mov	%rcx, %gs:GS_RIP
	pushq	176(%rsp)
	popfq
	mov	40(%rsp), %r8
	mov	48(%rsp), %r9
	mov	56(%rsp), %r10
	mov	64(%rsp), %r11
	mov	72(%rsp), %r12
	mov	80(%rsp), %r13
	mov	88(%rsp), %r14
	mov	96(%rsp), %r15
	mov	104(%rsp), %rdi
	mov	112(%rsp), %rsi
	mov	120(%rsp), %rbp
	mov	128(%rsp), %rbx
	mov	136(%rsp), %rdx
	mov	144(%rsp), %rax
	mov	152(%rsp), %rcx
	mov	%gs:GS_RSP, %rsp
exit_last:
	jmp	*%gs:GS_RIP

	.globl exit_end
exit_iretq:
	movzwl	190(%rsp), %eax
	movzwl	184(%rsp), %ecx
	mov	160(%rsp), %rdx
	mov	168(%rsp), %rsi
	mov	176(%rsp), %rdi
	push	%rax
	push	%rdx
	push	%rdi
	push	%rcx
	push	%rsi
	mov	80(%rsp), %r8		/* offsets of above, plus the five words */
	mov	88(%rsp), %r9
	mov	96(%rsp), %r10
	mov	104(%rsp), %r11
	mov	112(%rsp), %r12
	mov	120(%rsp), %r13
	mov	128(%rsp), %r14
	mov	136(%rsp), %r15
	mov	144(%rsp), %rdi
	mov	152(%rsp), %rsi
	mov	160(%rsp), %rbp
	mov	168(%rsp), %rbx
	mov	176(%rsp), %rdx
	mov	184(%rsp), %rax
	mov	192(%rsp), %rcx
	iretq

exit_sigreturn:
	mov	$15, %eax
	syscall
	ud2
exit_end:
exit_deliver:
	pushq	$2			/* the program's flags may be there already: direction, alignment check */
	popfq
	movl	$1, %gs:GS_SLOW
	mov	%gs:GS_SELF, %rdi
	mov	%rsp, %rsi
	call	signal_deliver
	jmp	exit_begin
exit_plain:
	mov	$15, %eax
	syscall
	ud2
host_restorer: /* never returned to: handlers leave by themselves */
	ud2
