/* Copies between monitor and program memory. A fault on program memory that cannot be resolved sets RIP to ucopy_fault, where RAX
 * is made -EFAULT. Every instruction in [ucopy_start, ucopy_end) that touches program memory runs with nothing on the stack but the
 * return address. */
	.text
	.globl ucopy_start, ucopy_end, ucopy_fault
ucopy_start:
/* s64 ucopy(void *dst, const void *src, u64 len) */
	.globl ucopy
ucopy:
	mov	%rdx, %rcx
	cmp	$64, %rcx
	ja	1f
	rep movsb
	xor	%eax, %eax
	ret
1:	mov	%rcx, %rdx
	shr	$3, %rcx
	rep movsq
	mov	%rdx, %rcx
	and	$7, %ecx
	rep movsb
	xor	%eax, %eax
	ret
/* s64 ufill(void *dst, u64 byte, u64 len) */
	.globl ufill
ufill:
	mov	%rdx, %rcx
	mov	%rsi, %rax
	rep stosb
	xor	%eax, %eax
	ret
/* s64 utouch(void *p): makes it resident and writable */
	.globl utouch
utouch:
	lock orb $0, (%rdi)
	xor	%eax, %eax
	ret
/* s64 ustrcpy(char *dst, const char *src, u64 cap): length, or -36 (ENAMETOOLONG) */
	.globl ustrcpy
ustrcpy:
	xor	%eax, %eax
2:	cmp	%rdx, %rax
	jae	3f
	movb	(%rsi,%rax), %cl
	movb	%cl, (%rdi,%rax)
	test	%cl, %cl
	jz	4f
	inc	%rax
	jmp	2b
3:	mov	$-36, %rax
4:	ret
/* s64 ucmpxchg(u32 *p, u32 *expected, u32 desired): 1 swapped, 0 not (expected updated) */
	.globl ucmpxchg
ucmpxchg:
	mov	(%rsi), %eax
	lock cmpxchg %edx, (%rdi)
	mov	%eax, (%rsi)
	sete	%al
	movzbl	%al, %eax
	ret
ucopy_end:
ucopy_fault:
	cld
	mov	$-14, %rax
	ret
