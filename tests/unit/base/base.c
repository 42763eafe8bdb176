/* base/: the monitor's string functions (compiled under other names) against libc's, and CRC-32C against known values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/crc.h"

void *fs_memcpy(void *dst, const void *src, size_t len);
void *fs_memmove(void *dst, const void *src, size_t len);
void *fs_memset(void *dst, int byte, size_t len);
int fs_memcmp(const void *a, const void *b, size_t len);
size_t fs_strlen(const char *s);
int fs_strcmp(const char *a, const char *b);
int fs_strncmp(const char *a, const char *b, size_t len);
char *fs_strchr(const char *s, int c);
char *fs_strrchr(const char *s, int c);
size_t fs_str_copy(char *dst, const char *src, size_t cap);

static int sign(int x)
{
	return (x > 0) - (x < 0);
}

static u32 calls;

static u32 one_less(u32 from)
{
	return from - ++calls;
}

/* A tick that says when it wants to be called next must not be called twice. */
static void picks(void **state)
{
	assert_int_equal(MIN(10u, one_less(5)), 4);
	assert_int_equal(calls, 1);
	assert_int_equal(MAX(MIN(7u, one_less(9)), 3u), 7);
	assert_int_equal(calls, 2);
	assert_true(MIN(-1, 0u) == 0 && MAX(-1, 0u) == UINT32_MAX); /* of the common type, as ever */
	assert_true(MIN(-1, 0) == -1);
}

static void moves(void **state)
{
	u8 a[64], b[64];

	for (u32 from = 0; from < 24; from++) {
		for (u32 to = 0; to < 24; to++) {
			for (u32 len = 0; len < 40; len++) {
				for (u32 i = 0; i < 64; i++)
					a[i] = b[i] = (u8)(i * 7);
				memmove(a + to, a + from, len);
				assert_ptr_equal(fs_memmove(b + to, b + from, len), b + to);
				assert_memory_equal(a, b, 64);
			}
		}
	}
	fs_memset(b, 0x1ee, 10);
	memset(a, 0xee, 10);
	assert_memory_equal(a, b, 10);
	fs_memcpy(b, "hello", 6);
	assert_string_equal((char *)b, "hello");
}

static void compares(void **state)
{
	static const char *const words[] = {"", "a", "ab", "abc", "abd", "b", "\xff", "a\xff"};

	for (u32 i = 0; i < ARRAY_SIZE(words); i++) {
		assert_int_equal(fs_strlen(words[i]), strlen(words[i]));
		for (u32 k = 0; k < ARRAY_SIZE(words); k++) {
			assert_int_equal(sign(fs_strcmp(words[i], words[k])), sign(strcmp(words[i], words[k])));
			for (size_t n = 0; n < 4; n++)
				assert_int_equal(sign(fs_strncmp(words[i], words[k], n)), sign(strncmp(words[i], words[k], n)));
			size_t len = MIN(strlen(words[i]), strlen(words[k]));

			assert_int_equal(sign(fs_memcmp(words[i], words[k], len)), sign(memcmp(words[i], words[k], len)));
		}
	}
}

static void finds(void **state)
{
	const char *s = "/a/b/c";

	for (int c = 0; c < 128; c++) {
		assert_ptr_equal(fs_strchr(s, c), strchr(s, c));
		assert_ptr_equal(fs_strrchr(s, c), strrchr(s, c));
	}
}

static void copies(void **state)
{
	char room[4] = "zzz";

	assert_int_equal(fs_str_copy(room, "abcdef", sizeof(room)), 6);
	assert_string_equal(room, "abc");
	assert_int_equal(fs_str_copy(room, "x", sizeof(room)), 1);
	assert_string_equal(room, "x");
	assert_int_equal(fs_str_copy(room, "longer", 0), 6);
	assert_string_equal(room, "x");
}

/* "123456789" is the check value of the Castagnoli polynomial; the zeros are RFC 3720's, B.4. */
static u32 crc_by_bit(const u8 *p, size_t len)
{
	u32 crc = ~0u;

	while (len--) {
		crc ^= *p++;
		for (u32 i = 0; i < 8; i++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
	}
	return ~crc;
}

static void crcs(void **state)
{
	static const u8 zeros[32];
	u8 page[4096];

	assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
	assert_int_equal(crc32c(0, zeros, 32), 0x8a9136aa);
	for (u32 i = 0; i < sizeof(page); i++)
		page[i] = (u8)(i * 31);
	u32 whole = crc32c(0, page, sizeof(page));

	for (u32 cut = 0; cut < 40; cut++)
		assert_int_equal(crc32c(crc32c(0, page, cut), page + cut, sizeof(page) - cut), whole);
	assert_int_equal(crc_by_bit(page, sizeof(page)), whole); /* summed in lanes */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(picks), cmocka_unit_test(moves), cmocka_unit_test(compares), cmocka_unit_test(finds), cmocka_unit_test(copies), cmocka_unit_test(crcs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
