/* void chacha20_vector(const u32 state[16], u8 *buf, u64 groups): chacha20_four with the sixteen vector registers as they were. A program's are in
 * the registers when a rewritten system call enters the monitor. SSE instructions leave the upper halves alone, so the low ones are all there is to keep; what
 * a signal finds here the kernel keeps in its frame. */
	.text
	.globl	chacha20_vector
	.type	chacha20_vector, @function
chacha20_vector:
	push	%rbp
	mov	%rsp, %rbp
	and	$-16, %rsp
	sub	$256, %rsp
	.irp	n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
	movdqa	%xmm\n, 16*\n(%rsp)
	.endr
	call	chacha20_four
	.irp	n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
	movdqa	16*\n(%rsp), %xmm\n
	.endr
	leave
	ret
	.size	chacha20_vector, . - chacha20_vector
	.section .note.GNU-stack, "", @progbits
