/* Text for people: a small formatter and the ways a process ends badly. */
#include "base/string.h"
#include "processor/monitor/mon.h"

struct out {
	char *buf;
	u64 cap, len;
};

static void put(struct out *o, char c)
{
	if (o->len + 1 < o->cap)
		o->buf[o->len] = c;
	o->len++;
}

static void put_str(struct out *o, const char *s, u32 width, bool left)
{
	u64 n = 0;

	if (!s)
		s = "(null)";
	while (s[n])
		n++;
	for (u64 i = n; !left && i < width; i++)
		put(o, ' ');
	for (u64 i = 0; i < n; i++)
		put(o, s[i]);
	for (u64 i = n; left && i < width; i++)
		put(o, ' ');
}

static void put_num(struct out *o, u64 v, u32 base, bool negative, u32 width, char pad)
{
	char digits[24];
	u32 n = 0;

	do
		digits[n++] = "0123456789abcdef"[v % base];
	while (v /= base);
	if (negative && pad == '0')
		put(o, '-');
	else if (negative)
		digits[n++] = '-';
	for (u32 i = n; i < width; i++)
		put(o, pad);
	while (n)
		put(o, digits[--n]);
}

s64 mon_vformat(char *buf, u64 cap, const char *fmt, __builtin_va_list ap)
{
	struct out o = {buf, cap, 0};

	for (; *fmt; fmt++) {
		if (*fmt != '%') {
			put(&o, *fmt);
			continue;
		}
		bool left = false, wide = false;
		char pad = ' ';
		u32 width = 0;

		fmt++;
		for (; *fmt == '-' || *fmt == '0'; fmt++) {
			left |= *fmt == '-';
			pad = *fmt == '0' ? '0' : pad;
		}
		for (; *fmt >= '0' && *fmt <= '9'; fmt++)
			width = width * 10 + (u32)(*fmt - '0');
		for (; *fmt == 'l' || *fmt == 'z'; fmt++)
			wide = true;
		if (*fmt == 's') {
			put_str(&o, __builtin_va_arg(ap, const char *), width, left);
		} else if (*fmt == 'c') {
			put(&o, (char)__builtin_va_arg(ap, int));
		} else if (*fmt == 'd') {
			s64 v = wide ? __builtin_va_arg(ap, s64) : __builtin_va_arg(ap, s32);

			put_num(&o, v < 0 ? 0 - (u64)v : (u64)v, 10, v < 0, width, pad);
		} else if (*fmt == 'u') {
			put_num(&o, wide ? __builtin_va_arg(ap, u64) : __builtin_va_arg(ap, u32), 10, false, width, pad);
		} else if (*fmt == 'o') {
			put_num(&o, wide ? __builtin_va_arg(ap, u64) : __builtin_va_arg(ap, u32), 8, false, width, pad);
		} else if (*fmt == 'x') {
			put_num(&o, wide ? __builtin_va_arg(ap, u64) : __builtin_va_arg(ap, u32), 16, false, width, pad);
		} else if (*fmt == 'p') {
			put_str(&o, "0x", 0, true);
			put_num(&o, __builtin_va_arg(ap, u64), 16, false, 0, ' ');
		} else if (*fmt == '%') {
			put(&o, '%');
		} else if (!*fmt) {
			break;
		}
	}
	if (cap)
		buf[o.len < cap ? o.len : cap - 1] = 0;
	return (s64)o.len;
}

s64 mon_format(char *buf, u64 cap, const char *fmt, ...)
{
	__builtin_va_list ap;

	__builtin_va_start(ap, fmt);
	s64 n = mon_vformat(buf, cap, fmt, ap);

	__builtin_va_end(ap);
	return n;
}

static void print_line(const char *prefix, const char *fmt, __builtin_va_list ap)
{
	char buf[512];
	s64 n = mon_format(buf, sizeof(buf), "%s", prefix);

	n += mon_vformat(buf + n, sizeof(buf) - (u64)n - 1, fmt, ap);
	if (n > (s64)sizeof(buf) - 2)
		n = sizeof(buf) - 2;
	if (!n || buf[n - 1] != '\n')
		buf[n++] = '\n';
	host(SYSNR(write), MON_FD_LOG, buf, n);
}

void mon_print(const char *fmt, ...)
{
	__builtin_va_list ap;

	__builtin_va_start(ap, fmt);
	print_line("", fmt, ap);
	__builtin_va_end(ap);
}

static bool dying;

void mon_fatal(const char *fmt, ...)
{
	__builtin_va_list ap;

	__builtin_va_start(ap, fmt);
	print_line("lego: ", fmt, ap);
	__builtin_va_end(ap);
	if (!__atomic_exchange_n(&dying, true, __ATOMIC_SEQ_CST) && mon.boot.debug_level)
		for (struct thread *t = thread_list(); t; t = t->next)
			mon_dump_events(t);
	for (;;)
		host(SYSNR(exit_group), 125);
}

bool host_checked;

void host_efault(s64 nr)
{
	if (nr != SYSNR(futex))
		mon_fatal("host call %ld got a bad address: program memory was passed to the host", nr);
}
