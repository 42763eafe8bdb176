/* First and last instructions of start-up. */
	.text
	.globl _start
_start:
	xor	%ebp, %ebp
	mov	%rsp, %rdi
	and	$-16, %rsp
	call	mon_start
	ud2

/* _Noreturn enter_program(u64 ip, u64 sp): registers as the kernel leaves them at an exec. A signal recorded before this is
 * delivered at the program's first trap. */
	.globl enter_program
enter_program:
	mov	%rsi, %rsp
	mov	%rdi, %rcx
	xor	%eax, %eax
	xor	%ebx, %ebx
	xor	%edx, %edx
	xor	%esi, %esi
	xor	%edi, %edi
	xor	%ebp, %ebp
	xor	%r8d, %r8d
	xor	%r9d, %r9d
	xor	%r10d, %r10d
	xor	%r11d, %r11d
	xor	%r12d, %r12d
	xor	%r13d, %r13d
	xor	%r14d, %r14d
	xor	%r15d, %r15d
	jmp	*%rcx
