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
 * rt_sigreturn alone (into the monitor), 1 to leave for the program: then recorded signals are delivered first. Between "nothing
 * is recorded" and the end of rt_sigreturn a signal would be forgotten until the next trap, so an asynchronous handler that
 * interrupts [exit_begin, exit_end) sets RIP back to exit_begin; RSP is the same all along. */
	.macro ENTRY name, handler
	.globl \name
\name:
	sub	$8, %rsp
	call	\handler
	add	$16, %rsp
	test	%eax, %eax
	jz	exit_plain
	jmp	exit_begin
	.endm

	ENTRY entry_sigsys, on_sigsys
	ENTRY entry_sigbus, on_sigbus
	ENTRY entry_sigsegv, on_sigsegv
	ENTRY entry_async, on_async

/* _Noreturn exit_frame(uc): leaves through a frame that is not at RSP (a new thread's, the first entry). */
	.globl exit_frame
exit_frame:
	mov	%rdi, %rsp
	.globl exit_begin, exit_end, host_restorer
exit_begin:
	cmpl	$0, %gs:24
	jne	exit_slow
	mov	$15, %eax
	syscall
exit_end:
	ud2
exit_slow:
	mov	%gs:16, %rdi
	mov	%rsp, %rsi
	call	signal_deliver
	jmp	exit_begin
exit_plain:
	mov	$15, %eax
	syscall
	ud2
host_restorer: /* never returned to: handlers leave by themselves */
	ud2
