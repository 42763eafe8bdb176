/* The smallest program: no libc, static, two system calls. The first thing a new process monitor has to run. It also touches one page of
 * .bss and one of .data, and checks what the kernel promises about a fresh process's stack. */

static long call3(long n, long a, long b, long c)
{
	long r;
	__asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
	return r;
}

static char zero[8192];
static char data[8192] = {1};

void start_c(long *sp);
void start_c(long *sp)
{
	static const char ok[] = "hello from a static program\n", bad[] = "wrong start\n";
	int right = sp[0] >= 1 && sp[1 + sp[0]] == 0 && (((unsigned long)sp) & 15) == 0;
	for (unsigned i = 0; i < sizeof(zero); i++)
		right &= zero[i] == 0;
	zero[5000] = 7;
	data[5000] = (char)(data[0] + 1);
	right &= *(volatile char *)&zero[5000] == 7 && *(volatile char *)&data[5000] == 2;
	if (right)
		call3(1, 1, (long)ok, sizeof(ok) - 1);
	else
		call3(1, 1, (long)bad, sizeof(bad) - 1);
	call3(231, right ? 0 : 1, 0, 0);
	__builtin_unreachable();
}

__asm__(".globl _start\n_start: xor %ebp,%ebp\n mov %rsp,%rdi\n and $-16,%rsp\n call start_c\n hlt\n");
