/* The monitor's own ChaCha20-Poly1305 against RFC 8439's vectors and libsodium, and the record layer against everything that may happen to a frame. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sodium.h>
#include <string.h>

#include "rpc/handshake.h"
#include "rpc/seal.h"

/* With another name: the library's aead_seal is libsodium's. */
#define aead_seal own_seal
#define aead_open own_open
void own_seal(const u8 key[AEAD_KEY], const u8 nonce[AEAD_NONCE], const u8 *ad, u32 ad_len, u8 *buf, u32 len, u8 tag[AEAD_TAG]);
bool own_open(const u8 key[AEAD_KEY], const u8 nonce[AEAD_NONCE], const u8 *ad, u32 ad_len, u8 *buf, u32 len, const u8 tag[AEAD_TAG]);
#include "rpc/aead.c"
#undef aead_seal
#undef aead_open

static u32 unhex(u8 *to, const char *hex)
{
	size_t n;

	assert_int_equal(sodium_hex2bin(to, 4096, hex, strlen(hex), " ", &n, NULL), 0);
	return (u32)n;
}

/* RFC 8439, 2.8.2 */
static void the_rfc_s_text(void **state)
{
	static const char text[] = "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.";
	u8 key[32], nonce[12], ad[12], want[128], want_tag[16], buf[sizeof(text)], tag[16];
	u32 len = sizeof(text) - 1;

	unhex(key, "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f");
	unhex(nonce, "070000004041424344454647");
	unhex(ad, "50515253c0c1c2c3c4c5c6c7");
	assert_int_equal(unhex(want, "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b"
				     "1a71de0a9e060b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc"
				     "3ff4def08e4b7a9de576d26586cec64b6116"), len);
	unhex(want_tag, "1ae10b594f09e26a7e902ecbd0600691");
	for (u32 own = 0; own < 2; own++) {
		memcpy(buf, text, sizeof(text));
		(own ? own_seal : aead_seal)(key, nonce, ad, sizeof(ad), buf, len, tag);
		assert_memory_equal(buf, want, len);
		assert_memory_equal(tag, want_tag, 16);
		assert_true((own ? own_open : aead_open)(key, nonce, ad, sizeof(ad), buf, len, tag));
		assert_memory_equal(buf, text, len);
	}
}

/* RFC 8439, A.3, 7 to 11: where carries go wrong. */
static void sums_at_the_edges(void **state)
{
	static const struct {
		const char *key, *text, *sum;
	} cases[] = {
	    {"02000000000000000000000000000000 00000000000000000000000000000000", "ffffffffffffffffffffffffffffffff", "03000000000000000000000000000000"},
	    {"02000000000000000000000000000000 ffffffffffffffffffffffffffffffff", "02000000000000000000000000000000", "03000000000000000000000000000000"},
	    {"01000000000000000000000000000000 00000000000000000000000000000000",
	     "ffffffffffffffffffffffffffffffff f0ffffffffffffffffffffffffffffff 11000000000000000000000000000000", "05000000000000000000000000000000"},
	    {"01000000000000000000000000000000 00000000000000000000000000000000",
	     "ffffffffffffffffffffffffffffffff fbfefefefefefefefefefefefefefefe 01010101010101010101010101010101", "00000000000000000000000000000000"},
	    {"02000000000000000000000000000000 00000000000000000000000000000000", "fdffffffffffffffffffffffffffffff", "faffffffffffffffffffffffffffffff"},
	    {"01000000000000000400000000000000 00000000000000000000000000000000",
	     "e33594d7505e43b90000000000000000 33 94d7505e4379cd01000000000000 00 00000000000000000000000000000000 01000000000000000000000000000000",
	     "14000000000000005500000000000000"},
	    {"01000000000000000400000000000000 00000000000000000000000000000000",
	     "e33594d7505e43b90000000000000000 33 94d7505e4379cd01000000000000 00 00000000000000000000000000000000", "13000000000000000000000000000000"},
	};

	for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
		u8 key[32], text[128], sum[16], got[16], theirs[16];
		u32 len = unhex(text, cases[i].text);
		struct poly p;

		unhex(key, cases[i].key);
		unhex(sum, cases[i].sum);
		poly_start(&p, key);
		poly_blocks(&p, text, len / 16);
		poly_end(&p, got);
		crypto_onetimeauth_poly1305(theirs, text, len, key);
		assert_memory_equal(theirs, got, 16);
		assert_memory_equal(sum, got, 16);
	}
}

/* All lengths around the vector path's groups, and random ones; also keys of all ones, whose sums carry most. */
static void own_and_libsodium_agree(void **state)
{
	static u8 a[70000], b[sizeof(a)], ad[64];
	u8 key[32], nonce[12], ta[16], tb[16];

	for (u32 i = 0; i < 1500; i++) {
		u32 len = i < 1100 ? i : randombytes_uniform(sizeof(a)), ad_len = randombytes_uniform(sizeof(ad) + 1);

		randombytes_buf(key, sizeof(key));
		randombytes_buf(nonce, sizeof(nonce));
		randombytes_buf(ad, sizeof(ad));
		if (i % 3)
			randombytes_buf(a, len);
		else
			memset(a, 0xff, len);
		memcpy(b, a, len);
		aead_seal(key, nonce, ad, ad_len, a, len, ta);
		own_seal(key, nonce, ad, ad_len, b, len, tb);
		assert_memory_equal(a, b, len);
		assert_memory_equal(ta, tb, 16);
		assert_true(own_open(key, nonce, ad, ad_len, a, len, ta));
		assert_true(aead_open(key, nonce, ad, ad_len, b, len, tb));
		assert_memory_equal(a, b, len);
	}
}

/* The program's registers are in use when a rewritten system call sends a frame. */
static void vector_registers_are_kept(void **state)
{
	static u8 buf[4096];
	u32 st[16] = {1, 2, 3};
	u64 before[32], after[32];

	randombytes_buf(before, sizeof(before));
	__asm__ volatile(".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n\tmovdqu 16*\\n(%0), %%xmm\\n\n\t.endr\n\t"
			 "push %1\n\tpush %0\n\tmov %2, %%rdi\n\tmov %3, %%rsi\n\tmov $16, %%edx\n\t"
			 "mov %%rsp, %%r12\n\tand $-16, %%rsp\n\tcall chacha20_vector\n\tmov %%r12, %%rsp\n\tpop %0\n\tpop %1\n\t"
			 ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n\tmovdqu %%xmm\\n, 16*\\n(%1)\n\t.endr"
			 :
			 : "b"(before), "r"((u64 *)after), "r"(st), "r"((u8 *)buf)
			 : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4",
			   "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
	assert_memory_equal(before, after, sizeof(before));
	assert_false(sodium_is_zero(buf, sizeof(buf)));
}

/* ---- the record layer */

struct pair {
	struct seal out, in;
};

static void pair_make(struct pair *p, u8 fill)
{
	u8 key[32];

	memset(key, fill, sizeof(key));
	seal_start(&p->out, key);
	seal_start(&p->in, key);
}

#define FRAME 300u

static void frame_make(u8 *f, u8 fill)
{
	u32 len = FRAME;

	memset(f, fill, FRAME);
	memcpy(f, &len, sizeof(len));
}

static void frames_come_in_order(void **state)
{
	u8 f[FRAME + SEAL_EXTRA], want[FRAME];
	struct pair p;

	pair_make(&p, 1);
	for (u32 i = 0; i < 300; i++) {
		frame_make(want, (u8)i);
		frame_make(f, (u8)i);
		seal_frame(&p.out, f, FRAME);
		assert_memory_not_equal(f + 4, want + 4, FRAME - 4);
		assert_true(seal_open(&p.in, f, FRAME));
		assert_memory_equal(f, want, FRAME);
	}
}

/* Also in the length and in the tag. */
static void no_bit_may_change(void **state)
{
	u8 sealed[FRAME + SEAL_EXTRA], f[sizeof(sealed)];
	struct pair p;

	pair_make(&p, 1);
	frame_make(sealed, 7);
	seal_frame(&p.out, sealed, FRAME);
	for (u32 bit = 0; bit < 8 * sizeof(sealed); bit++) {
		memcpy(f, sealed, sizeof(f));
		f[bit / 8] ^= (u8)(1 << bit % 8);
		p.in.frames = 0;
		assert_false(seal_open(&p.in, f, FRAME));
	}
	p.in.frames = 0;
	assert_true(seal_open(&p.in, sealed, FRAME));
}

static void nothing_is_repeated_swapped_or_left_out(void **state)
{
	u8 one[FRAME + SEAL_EXTRA], two[sizeof(one)], f[sizeof(one)];
	struct pair p, q;

	pair_make(&p, 1);
	pair_make(&q, 1);
	frame_make(one, 1);
	frame_make(two, 1); /* the same text: only the number differs */
	seal_frame(&p.out, one, FRAME);
	seal_frame(&p.out, two, FRAME);
	assert_memory_not_equal(one + 4, two + 4, FRAME - 4);
	assert_false(seal_open(&q.in, memcpy(f, two, sizeof(f)), FRAME)); /* the first one is missing */
	assert_true(seal_open(&p.in, memcpy(f, one, sizeof(f)), FRAME));
	assert_false(seal_open(&p.in, memcpy(f, one, sizeof(f)), FRAME)); /* again */
}

static void another_key_opens_nothing(void **state)
{
	u8 f[FRAME + SEAL_EXTRA];
	struct pair p, q;

	pair_make(&p, 1);
	pair_make(&q, 2);
	frame_make(f, 1);
	seal_frame(&p.out, f, FRAME);
	assert_false(seal_open(&q.in, f, FRAME));
}

/* ---- keys */

struct talk {
	struct greeting g;
	struct hello h;
	struct welcome w;
	u8 ours[32], theirs[32], key[32];
};

static void talk_make(struct talk *t, bool demanded)
{
	const u8 nonce[16] = {3};

	memset(t, 0, sizeof(*t));
	memset(t->key, 5, sizeof(t->key));
	handshake_greeting(&t->g, 9, nonce, demanded);
	t->h = (struct hello){.kind = KIND_CLIENT, .role = ROLE_ADMIN, .seal = !demanded};
	assert_int_equal(handshake_check_greeting(&t->g), 0);
	handshake_sign(&t->h, &t->g, t->key, t->ours);
	assert_int_equal(handshake_check_hello(&t->h, &t->g, t->key), 0);
	handshake_welcome(&t->w, 0, "m0", 9, 4, 0);
	handshake_finish_welcome(&t->w, &t->h, t->key, t->theirs);
	assert_int_equal(handshake_check_welcome(&t->w, &t->h, t->key), 0);
}

static void both_ends_have_the_same_keys(void **state)
{
	struct talk t;
	struct chan_keys a, b, c;

	for (u32 demanded = 0; demanded < 2; demanded++) {
		talk_make(&t, demanded);
		assert_int_equal(t.h.seal, 1);
		assert_int_equal(t.w.seal, 1);
		assert_true(handshake_keys(&a, t.ours, &t.h, &t.w, t.key, true));
		assert_true(handshake_keys(&b, t.theirs, &t.h, &t.w, t.key, false));
		assert_memory_equal(a.out, b.in, 32);
		assert_memory_equal(a.in, b.out, 32);
		assert_memory_not_equal(a.in, a.out, 32);
		assert_true(sodium_is_zero(t.ours, 32));
	}
	talk_make(&t, false); /* the same key, other shares */
	assert_true(handshake_keys(&c, t.ours, &t.h, &t.w, t.key, true));
	assert_memory_not_equal(a.out, c.out, 32);
}

/* What somebody between the two could change so that they speak in the clear, or with keys of his. */
static void nobody_talks_them_out_of_it(void **state)
{
	struct talk t;
	struct chan_keys k;
	u8 secret[32];

	talk_make(&t, true);
	t.g.seal = 0; /* the dialler is told that plain will do; the acceptor knows what it said */
	t.h = (struct hello){.kind = KIND_CLIENT, .role = ROLE_ADMIN};
	handshake_sign(&t.h, &t.g, t.key, secret);
	t.g.seal = 1;
	assert_int_equal(handshake_check_hello(&t.h, &t.g, t.key), -WIRE_UNAUTHORISED);
	handshake_sign(&t.h, &t.g, t.key, secret);
	assert_int_equal(t.h.seal, 1);
	t.h.seal = 0;
	assert_int_equal(handshake_check_hello(&t.h, &t.g, t.key), -WIRE_UNAUTHORISED);
	talk_make(&t, true);
	t.h.share[0] ^= 1;
	assert_int_equal(handshake_check_hello(&t.h, &t.g, t.key), -WIRE_UNAUTHORISED);
	t.h.share[0] ^= 1;
	t.w.share[0] ^= 1;
	assert_int_equal(handshake_check_welcome(&t.w, &t.h, t.key), -WIRE_UNAUTHORISED);
	t.w.share[0] ^= 1;
	t.w.seal = 0;
	assert_int_equal(handshake_check_welcome(&t.w, &t.h, t.key), -WIRE_UNAUTHORISED);
	/* one with the key who does not do what was asked, and one whose share is no point */
	talk_make(&t, false);
	t.h.seal = 0;
	handshake_finish_welcome(&t.w, &t.h, t.key, secret);
	t.h.seal = 1;
	assert_int_equal(handshake_check_welcome(&t.w, &t.h, t.key), -WIRE_BAD_MESSAGE);
	memset(t.w.share, 0, sizeof(t.w.share));
	assert_false(handshake_keys(&k, t.ours, &t.h, &t.w, t.key, true));
}

static void plain_is_refused_where_it_must_be_sealed(void **state)
{
	struct talk t;
	struct greeting plain;
	u8 secret[32];

	talk_make(&t, true);
	plain = t.g;
	plain.seal = 0;
	t.h = (struct hello){.kind = KIND_CLIENT, .role = ROLE_ADMIN};
	handshake_sign(&t.h, &plain, t.key, secret);
	assert_int_equal(t.h.seal, 0);
	/* as a peer of its own making signs it: it knows the key and says that it will not */
	struct hello h = t.h;

	memset(h.mac, 0, sizeof(h.mac));
	crypto_generichash_state st;
	crypto_generichash_init(&st, t.key, 32, 32);
	crypto_generichash_update(&st, (const u8 *)&t.g, sizeof(t.g));
	crypto_generichash_update(&st, (const u8 *)&h, sizeof(h));
	crypto_generichash_final(&st, t.h.mac, 32);
	assert_int_equal(handshake_check_hello(&t.h, &t.g, t.key), -WIRE_PLAIN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_rfc_s_text),
	    cmocka_unit_test(sums_at_the_edges),
	    cmocka_unit_test(own_and_libsodium_agree),
	    cmocka_unit_test(vector_registers_are_kept),
	    cmocka_unit_test(frames_come_in_order),
	    cmocka_unit_test(no_bit_may_change),
	    cmocka_unit_test(nothing_is_repeated_swapped_or_left_out),
	    cmocka_unit_test(another_key_opens_nothing),
	    cmocka_unit_test(both_ends_have_the_same_keys),
	    cmocka_unit_test(nobody_talks_them_out_of_it),
	    cmocka_unit_test(plain_is_refused_where_it_must_be_sealed),
	};

	return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
