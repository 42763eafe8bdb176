/* String functions without libc. */
#include "base/string.h"

#define FAR_TO	 4096u
#define FAR_FROM 1024u

#if defined(LEGO_MONITOR)
void *memcpy(void *dst, const void *src, size_t len)
{
	void *d = dst;

	__asm__ volatile("rep movsb" : "+D"(d), "+S"(src), "+c"(len) : : "memory");
	return dst;
}

void *memset(void *dst, int byte, size_t len)
{
	void *d = dst;

	__asm__ volatile("rep stosb" : "+D"(d), "+c"(len) : "a"(byte) : "memory");
	return dst;
}

void *memmove(void *dst, const void *src, size_t len)
{
	u8 *d = dst;
	const u8 *s = src;

	if (d <= s || d >= s + len)
		return memcpy(dst, src, len);
	while (len--)
		d[len] = s[len];
	return dst;
}

int memcmp(const void *a, const void *b, size_t len)
{
	const u8 *x = a, *y = b;

	for (; len && *x == *y; len--)
		x++, y++;
	return len ? *x - *y : 0;
}

size_t strlen(const char *s)
{
	size_t n = 0;

	while (s[n])
		n++;
	return n;
}

int strcmp(const char *a, const char *b)
{
	for (; *a && *a == *b; a++)
		b++;
	return (u8)*a - (u8)*b;
}

int strncmp(const char *a, const char *b, size_t len)
{
	for (; len && *a && *a == *b; len--)
		a++, b++;
	return len ? (u8)*a - (u8)*b : 0;
}

char *strchr(const char *s, int c)
{
	for (; *s != (char)c; s++)
		if (!*s)
			return NULL;
	return (char *)(uintptr_t)s;
}

char *strrchr(const char *s, int c)
{
	char *last = NULL;

	for (;; s++) {
		if (*s == (char)c)
			last = (char *)(uintptr_t)s;
		if (!*s)
			return last;
	}
}
#endif

size_t str_copy(char *dst, const char *src, size_t cap)
{
	size_t n = strlen(src);

	if (cap) {
		size_t keep = n < cap ? n : cap - 1;

		memcpy(dst, src, keep);
		dst[keep] = 0;
	}
	return n;
}

void copy_far(void *dst, const void *src, size_t len)
{
	typedef u64 word __attribute__((may_alias, aligned(1)));

	for (size_t at = 0; at < len; at += 64) {
		word *to = (word *)((u8 *)dst + at);
		const word *from = (const word *)((const u8 *)src + at);

		__builtin_prefetch((u8 *)dst + MIN(at + FAR_TO, len - 64), 1);
		__builtin_prefetch((const u8 *)src + MIN(at + FAR_FROM, len - 64));
		u64 a = from[0], b = from[1], c = from[2], d = from[3], e = from[4], f = from[5], g = from[6], h = from[7];

		to[0] = a;
		to[1] = b;
		to[2] = c;
		to[3] = d;
		to[4] = e;
		to[5] = f;
		to[6] = g;
		to[7] = h;
	}
}
