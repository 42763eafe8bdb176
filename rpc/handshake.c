/* The HELLO exchange. The dialler proves that it knows the cluster key by a keyed BLAKE2b over the acceptor's fresh nonce and all
 * of its hello; so the authority a hello binds (role, asid, vNode, user) cannot be forged or replayed. The acceptor proves the same by one over
 * that and its welcome: nobody hands memory or files to an impostor that took a node's address.
 *
 * A connection that is to be sealed carries an X25519 share in hello and welcome, under those MACs: in Noise's words NNpsk0. The keys are of the shared
 * secret, so who learns the cluster key later reads nothing of what was said before; and of the cluster key, so who has only seen the shares has nothing. */
#include "rpc/handshake.h"

#include <sodium.h>
#include <string.h>

void wire_name_set(char dst[WIRE_NAME_MAX], const char *src)
{
	size_t n = strnlen(src, WIRE_NAME_MAX - 1);

	memset(dst, 0, WIRE_NAME_MAX);
	memcpy(dst, src, n);
}

bool wire_same_node(const char *a, const char *b)
{
	size_t n = strcspn(a, (char[]){WIRE_SHARD_MARK, 0});

	return n == strcspn(b, (char[]){WIRE_SHARD_MARK, 0}) && !memcmp(a, b, n);
}

bool wire_name_ok(const char name[WIRE_NAME_MAX])
{
	for (u32 i = 0; i < WIRE_NAME_MAX; i++) {
		if (!name[i])
			return true;
		if (name[i] <= ' ' || name[i] >= 0x7f || name[i] == '/')
			return false;
	}
	return false;
}

void handshake_greeting(struct greeting *g, u64 incarnation, const u8 nonce[16], bool seal)
{
	*g = (struct greeting){.magic = LEGO_WIRE_MAGIC, .version = LEGO_WIRE_VERSION, .incarnation = incarnation, .seal = seal};
	memcpy(g->nonce, nonce, sizeof(g->nonce));
}

s32 handshake_check_greeting(const struct greeting *g)
{
	return g->magic == LEGO_WIRE_MAGIC && g->version == LEGO_WIRE_VERSION && g->seal <= 1 ? 0 : -WIRE_BAD_MESSAGE;
}

static void compute_mac(u8 mac[32], const struct hello *h, const struct greeting *g, const u8 key[32])
{
	struct hello bare = *h;
	crypto_generichash_state st;

	memset(bare.mac, 0, sizeof(bare.mac));
	crypto_generichash_init(&st, key, 32, 32);
	crypto_generichash_update(&st, (const u8 *)g, sizeof(*g));
	crypto_generichash_update(&st, (const u8 *)&bare, sizeof(bare));
	crypto_generichash_final(&st, mac, 32);
}

static void make_share(u8 share[32], u8 secret[32])
{
	randombytes_buf(secret, 32);
	crypto_scalarmult_base(share, secret);
}

void handshake_sign(struct hello *h, const struct greeting *g, const u8 key[32], u8 secret[32])
{
	h->magic = LEGO_WIRE_MAGIC;
	h->version = LEGO_WIRE_VERSION;
	randombytes_buf(h->nonce, sizeof(h->nonce));
	h->seal |= g->seal == 1;
	memset(h->share, 0, sizeof(h->share));
	if (h->seal)
		make_share(h->share, secret);
	compute_mac(h->mac, h, g, key);
}

s32 handshake_check_hello(const struct hello *h, const struct greeting *g, const u8 key[32])
{
	u8 mac[32];

	if (h->magic != LEGO_WIRE_MAGIC || h->version != LEGO_WIRE_VERSION)
		return -WIRE_BAD_MESSAGE;
	compute_mac(mac, h, g, key);
	if (sodium_memcmp(mac, h->mac, sizeof(mac)))
		return -WIRE_UNAUTHORISED;
	if (h->kind < KIND_PROCESSOR || h->kind > KIND_CLIENT || h->role < ROLE_COMPONENT || h->role > ROLE_READER || h->role == ROLE_PROCESS)
		return -WIRE_BAD_MESSAGE;
	if (h->want_ring > WANT_UCX || h->seal > 1 || (h->want_ring == WANT_RING && h->seal) || !wire_name_ok(h->name))
		return -WIRE_BAD_MESSAGE;
	return g->seal && !h->seal ? -WIRE_PLAIN : 0;
}

void handshake_welcome(struct welcome *w, s32 status, const char *name, u64 incarnation, u64 session, u32 ring_len)
{
	*w = (struct welcome){
	    .magic = LEGO_WIRE_MAGIC, .status = status, .ring_len = ring_len, .incarnation = incarnation, .session = session};
	wire_name_set(w->name, name);
}

static void welcome_mac(u8 mac[32], const struct welcome *w, const struct hello *h, const u8 key[32])
{
	static const u8 what[8] = "welcome"; /* no mac of a hello is one of a welcome */
	struct welcome bare = *w;
	crypto_generichash_state st;

	memset(bare.mac, 0, sizeof(bare.mac));
	crypto_generichash_init(&st, key, 32, 32);
	crypto_generichash_update(&st, what, sizeof(what));
	crypto_generichash_update(&st, h->mac, sizeof(h->mac));
	crypto_generichash_update(&st, (const u8 *)&bare, sizeof(bare));
	crypto_generichash_final(&st, mac, 32);
}

void handshake_finish_welcome(struct welcome *w, const struct hello *h, const u8 key[32], u8 secret[32])
{
	w->seal = h->seal;
	if (w->seal)
		make_share(w->share, secret);
	welcome_mac(w->mac, w, h, key);
}

s32 handshake_check_welcome(const struct welcome *w, const struct hello *h, const u8 key[32])
{
	u8 mac[32];

	if (w->magic != LEGO_WIRE_MAGIC || !wire_name_ok(w->name))
		return -WIRE_BAD_MESSAGE;
	if (w->status)
		return w->status < 0 ? w->status : -WIRE_BAD_MESSAGE;
	welcome_mac(mac, w, h, key);
	if (sodium_memcmp(mac, w->mac, sizeof(mac)))
		return -WIRE_UNAUTHORISED;
	return w->seal == h->seal ? 0 : -WIRE_BAD_MESSAGE;
}

bool handshake_keys(struct chan_keys *k, u8 secret[32], const struct hello *h, const struct welcome *w, const u8 key[32], bool dialler)
{
	static const u8 what[8] = "sealing";
	u8 shared[32], both[64]; /* of the dialler's frames, of the acceptor's */
	crypto_generichash_state st;
	bool good = !crypto_scalarmult(shared, secret, dialler ? w->share : h->share);

	crypto_generichash_init(&st, key, 32, sizeof(both));
	crypto_generichash_update(&st, what, sizeof(what));
	crypto_generichash_update(&st, shared, sizeof(shared));
	crypto_generichash_update(&st, h->mac, sizeof(h->mac));
	crypto_generichash_update(&st, w->mac, sizeof(w->mac));
	crypto_generichash_final(&st, both, sizeof(both));
	memcpy(k->out, both + (dialler ? 0 : 32), 32);
	memcpy(k->in, both + (dialler ? 32 : 0), 32);
	sodium_memzero(shared, sizeof(shared));
	sodium_memzero(both, sizeof(both));
	sodium_memzero(secret, 32);
	return good;
}

static void offer_mac(u8 mac[32], const struct ucx_offer *o, const struct hello *h, const struct welcome *w, const u8 key[32], bool of_dialler)
{
	static const u8 what[2][8] = {"accepts", "dialled"};
	struct ucx_offer bare = *o;
	crypto_generichash_state st;

	memset(bare.mac, 0, sizeof(bare.mac));
	crypto_generichash_init(&st, key, 32, 32);
	crypto_generichash_update(&st, what[of_dialler], sizeof(what[0]));
	crypto_generichash_update(&st, h->mac, sizeof(h->mac));
	crypto_generichash_update(&st, w->mac, sizeof(w->mac));
	crypto_generichash_update(&st, (const u8 *)&bare, sizeof(bare));
	crypto_generichash_final(&st, mac, 32);
}

void handshake_sign_offer(struct ucx_offer *o, const struct hello *h, const struct welcome *w, const u8 key[32], bool dialler)
{
	offer_mac(o->mac, o, h, w, key, dialler);
}

bool handshake_check_offer(const struct ucx_offer *theirs, const struct hello *h, const struct welcome *w, const u8 key[32], bool dialler)
{
	u8 mac[32];

	offer_mac(mac, theirs, h, w, key, !dialler);
	return !sodium_memcmp(mac, theirs->mac, sizeof(mac)) && theirs->magic == LEGO_WIRE_MAGIC && theirs->len && theirs->len <= UCX_ADDR_MAX;
}
