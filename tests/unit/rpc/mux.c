/* Channels over a fabric, with one in memory that does as it is told: messages in any order, late, far, forged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/ucx/mux.h"

#define MAX_MSGS 64u
#define BIG	 (200u * 1024u)

struct fabric_ep {
	void *peer;
};

struct message { /* sent and not delivered: head and data are still the sender's */
	const void *head, *data;
	u32 head_len, len;
	void *what;
};

struct fabric {
	struct fabric_user user;
	struct message out[MAX_MSGS];
	u32 nout, connects, disconnects, released;
	struct fabric_ep *last;
	void *fetch_to, *fetch_what; /* one fetch under way */
	const void *fetch_from;
	u32 fetch_len;
};

static struct fabric fabrics[2];
static u32 opened;

static struct fabric *fake_open(const struct fabric_user *user, char *err, size_t err_len)
{
	struct fabric *f = &fabrics[opened++];

	*f = (struct fabric){.user = *user};
	return f;
}

static void fake_close(struct fabric *f)
{
	f->nout = 0;
}

static u32 fake_address(struct fabric *f, void *to, u32 room)
{
	*(u8 *)to = (u8)(f - fabrics);
	return 1;
}

static int fake_efd(struct fabric *f)
{
	return -1;
}

static bool fake_arm(struct fabric *f)
{
	return !f->nout;
}

static u32 fake_progress(struct fabric *f)
{
	return 0;
}

static struct fabric_ep *fake_connect(struct fabric *f, const void *addr, u32 len, void *peer, char *err, size_t err_len)
{
	struct fabric_ep *ep = malloc(sizeof(*ep));

	ep->peer = peer;
	f->last = ep;
	f->connects++;
	return ep;
}

static void fake_disconnect(struct fabric *f, struct fabric_ep *ep)
{
	f->disconnects++;
	free(ep);
}

static int fake_send(struct fabric *f, struct fabric_ep *ep, const void *head, u32 head_len, const void *data, u32 len, void *what)
{
	assert_true(f->nout < MAX_MSGS);
	f->out[f->nout++] = (struct message){head, data, head_len, len, what};
	return 1;
}

static int fake_fetch(struct fabric *f, const struct fabric_data *d, void *to, void *what)
{
	f->fetch_to = to;
	f->fetch_what = what;
	f->fetch_from = d->data;
	f->fetch_len = d->len;
	return 1;
}

static void fake_release(struct fabric *f, void *data)
{
	f->released++;
	free(data);
}

static const struct fabric_ops fake = {FABRIC_VERSION, 64,	     fake_open, fake_close, fake_address, fake_efd,    fake_arm,
				       fake_progress,  fake_connect, fake_disconnect, fake_send, fake_fetch, fake_release};

/* ---- two ends */

enum how { EAGER, KEPT, FAR };

struct end {
	struct ucx *u;
	struct ucx_chan *chan[2];
	u32 wakes[2];
};

static struct end ends[2];

static void wake(void *arg, void *owner)
{
	++*(u32 *)owner;
}

static void join(u32 i)
{
	static struct ucx_offer o[2];
	char err[64];

	for (u32 e = 0; e < 2; e++) {
		ends[e].chan[i] = ucx_chan_new(ends[e].u, &ends[e].wakes[i]);
		assert_true(ucx_chan_offer(ends[e].chan[i], &o[e]));
	}
	for (u32 e = 0; e < 2; e++)
		assert_true(ucx_chan_join(ends[e].chan[i], &o[!e], err, sizeof(err)));
}

static int setup(void **state)
{
	char err[64];

	opened = 0;
	memset(ends, 0, sizeof(ends));
	for (u32 e = 0; e < 2; e++) {
		ends[e].u = ucx_new(&fake, wake, NULL, 100 + e, err, sizeof(err));
		assert_non_null(ends[e].u);
	}
	join(0);
	join(1);
	return 0;
}

static int teardown(void **state)
{
	for (u32 e = 0; e < 2; e++) {
		while (fabrics[e].nout)
			fabrics[e].user.sent(fabrics[e].user.arg, fabrics[e].out[--fabrics[e].nout].what);
		for (u32 i = 0; i < 2; i++)
			if (ends[e].chan[i])
				ucx_chan_free(ends[e].chan[i]);
		ucx_free(ends[e].u);
	}
	return 0;
}

/* Gives end `to` message `at` of those the other has sent. */
static void deliver(u32 to, u32 at, enum how how)
{
	struct fabric *from = &fabrics[!to], *f = &fabrics[to];
	struct message m = from->out[at];
	void *copy = malloc(m.len + 1);
	struct fabric_data d = {copy, m.len, how == KEPT, how == FAR};

	memcpy(copy, m.data, m.len);
	memmove(&from->out[at], &from->out[at + 1], (from->nout - at - 1) * sizeof(m));
	from->nout--;
	if (!f->user.came(f->user.arg, m.head, m.head_len, &d) && how != FAR)
		free(copy);
	if (how != FAR)
		from->user.sent(from->user.arg, m.what);
	else /* kept by the sender until it is fetched; here its copy stands for it */
		from->user.sent(from->user.arg, m.what);
}

static void finish_fetch(u32 e, bool ok)
{
	struct fabric *f = &fabrics[e];

	if (ok)
		memcpy(f->fetch_to, f->fetch_from, f->fetch_len);
	free((void *)(uintptr_t)f->fetch_from);
	f->user.fetched(f->user.arg, f->fetch_what, ok);
}

static u8 bytes[UCX_FRAME_MAX];

static int send_frame(u32 e, u32 i, u8 fill, u32 len)
{
	struct wire_seg seg[2] = {{bytes, len / 2}, {bytes + len / 2, len - len / 2}};

	memset(bytes, fill, len);
	return ucx_chan_send(ends[e].chan[i], seg, 2, len);
}

static void assert_next(u32 e, u32 i, u8 fill, u32 len)
{
	u32 got;
	u8 *frame = ucx_chan_next(ends[e].chan[i], &got);

	assert_non_null(frame);
	assert_int_equal((uintptr_t)frame & 7, 0);
	assert_int_equal(got, len);
	assert_int_equal(frame[0], fill);
	assert_int_equal(frame[len - 1], fill);
	ucx_chan_taken(ends[e].chan[i]);
}

static void assert_none(u32 e, u32 i)
{
	u32 len;

	assert_null(ucx_chan_next(ends[e].chan[i], &len));
}

/* ---- order and windows */

static void frames_are_put_in_order(void **state)
{
	for (u8 k = 0; k < 4; k++)
		assert_int_equal(send_frame(0, 0, k, 100u + k), 0);
	deliver(1, 3, EAGER);
	deliver(1, 1, KEPT);
	assert_none(1, 0);
	assert_int_equal(ends[1].wakes[0], 0);
	deliver(1, 0, EAGER);
	assert_int_equal(ends[1].wakes[0], 1);
	assert_next(1, 0, 0, 100);
	assert_next(1, 0, 1, 101);
	assert_none(1, 0);
	deliver(1, 0, KEPT);
	assert_next(1, 0, 2, 102);
	assert_next(1, 0, 3, 103);
	assert_int_equal(fabrics[1].released, 2);
	assert_int_equal(fabrics[0].connects, 1); /* one way for both channels */
}

static void a_far_frame_is_waited_for(void **state)
{
	assert_int_equal(send_frame(0, 0, 7, BIG), 0);
	assert_int_equal(send_frame(0, 0, 8, 60), 0);
	deliver(1, 0, FAR);
	deliver(1, 0, EAGER);
	assert_none(1, 0);
	finish_fetch(1, true);
	assert_next(1, 0, 7, BIG);
	assert_next(1, 0, 8, 60);
	assert_int_equal(ucx_stats(ends[1].u)->fetched, 1);
}

static void a_channel_that_ends_leaves_its_fetch_behind(void **state)
{
	for (u32 ok = 0; ok < 2; ok++) {
		assert_int_equal(send_frame(0, ok, 7, BIG), 0);
		deliver(1, 0, FAR);
		ucx_chan_free(ends[1].chan[ok]);
		ends[1].chan[ok] = NULL;
		finish_fetch(1, ok);
	}
}

static void a_fetch_that_fails_ends_the_channel(void **state)
{
	assert_int_equal(send_frame(0, 0, 7, BIG), 0);
	deliver(1, 0, FAR);
	finish_fetch(1, false);
	assert_true(ucx_chan_broken(ends[1].chan[0]));
	assert_false(ucx_chan_broken(ends[1].chan[1]));
}

static void who_is_not_read_waits(void **state)
{
	u32 sent = 0;

	while (!send_frame(0, 0, (u8)sent, BIG))
		sent++;
	assert_int_equal(sent, UCX_WINDOW / BIG);
	assert_int_equal(send_frame(0, 0, 0, BIG), -EAGAIN);
	assert_int_equal(send_frame(0, 1, 9, BIG), 0); /* the other channel does not */
	for (u32 k = 0; k <= sent; k++)
		deliver(1, 0, EAGER);
	assert_int_equal(fabrics[1].nout, 0);
	for (u32 k = 0; k < sent; k++)
		assert_next(1, 0, (u8)k, BIG);
	assert_true(fabrics[1].nout >= 2); /* told without a frame that goes there */
	assert_int_equal(ends[0].wakes[0], 0);
	deliver(0, 0, EAGER);
	assert_int_equal(ends[0].wakes[0], 1);
	assert_int_equal(send_frame(0, 0, 1, BIG), 0);
	/* what comes late says less, and nothing is forgotten */
	while (fabrics[1].nout)
		deliver(0, fabrics[1].nout - 1, EAGER);
	for (u32 k = 0; k < sent - 2; k++)
		assert_int_equal(send_frame(0, 0, 1, BIG), 0);
}

/* A frame that goes there says it too. */
static void what_is_taken_rides_along(void **state)
{
	while (!send_frame(0, 0, 0, BIG))
		;
	deliver(1, 0, EAGER);
	assert_next(1, 0, 0, BIG);
	assert_int_equal(send_frame(1, 0, 3, 64), 0);
	deliver(0, 0, EAGER);
	assert_next(0, 0, 3, 64);
	assert_int_equal(send_frame(0, 0, 0, BIG), 0);
}

/* ---- hostile */

static struct ucx_head valid_head(void)
{
	struct ucx_head h;

	assert_int_equal(send_frame(0, 0, 1, 100), 0);
	memcpy(&h, fabrics[0].out[0].head, sizeof(h));
	return h;
}

static void say(const struct ucx_head *h, u32 head_len, u32 len)
{
	static u8 data[UCX_FRAME_MAX + 64];
	struct fabric_data d = {data, len, false, false};

	assert_false(fabrics[1].user.came(fabrics[1].user.arg, h, head_len, &d));
}

static void strays_reach_nobody(void **state)
{
	struct ucx_head good = valid_head(), h = good;

	h.token ^= 1;
	say(&h, sizeof(h), 100);
	h = good;
	h.chan = 1; /* another's */
	say(&h, sizeof(h), 100);
	h.chan = 77;
	say(&h, sizeof(h), 100);
	h.chan = UINT32_MAX;
	say(&h, sizeof(h), 100);
	say(&good, sizeof(good) - 1, 100);
	say(&good, 0, 100);
	assert_int_equal(ucx_stats(ends[1].u)->strays, 6);
	for (u32 i = 0; i < 2; i++) {
		assert_none(1, i);
		assert_false(ucx_chan_broken(ends[1].chan[i]));
	}
	deliver(1, 0, EAGER);
	assert_next(1, 0, 1, 100);
}

/* Who has the token and does not keep to the rules ends that channel. */
static void bad_heads_end_one_channel(void **state)
{
	u32 how = (u32)(uintptr_t)*state;
	struct ucx_head h = valid_head();
	u32 len = 100;

	switch (how) {
	case 0:
		h.kind = 7;
		break;
	case 1:
		h.taken = 1; /* nothing was sent */
		break;
	case 2:
		h.seq = 1ull << 40;
		break;
	case 3:
		len = UCX_FRAME_MAX + 1;
		break;
	case 4:
		len = 0;
		break;
	case 5:
		h.kind = UCX_TAKEN; /* with data */
		break;
	case 6:
		h.reserved = 1;
		break;
	case 7: /* twice */
		say(&h, sizeof(h), len);
		break;
	case 8: /* more than the window */
		for (u32 k = 0; k < UCX_WINDOW / BIG; k++, h.seq++)
			say(&h, sizeof(h), BIG);
		len = BIG;
		assert_false(ucx_chan_broken(ends[1].chan[0]));
		break;
	case 9: /* one that was taken */
		say(&h, sizeof(h), len);
		ucx_chan_taken(ends[1].chan[0]);
		break;
	}
	say(&h, sizeof(h), len);
	assert_true(ucx_chan_broken(ends[1].chan[0]));
	assert_int_equal(ucx_stats(ends[1].u)->bad, 1);
	assert_none(1, 0);
	assert_int_equal(send_frame(1, 0, 0, 100), -WIRE_DOWN);
	say(&h, sizeof(h), len); /* and nothing reaches it any more */
	assert_int_equal(ucx_stats(ends[1].u)->bad, 1);
	assert_int_equal(send_frame(0, 1, 5, 100), 0);
	deliver(1, 1, EAGER);
	assert_next(1, 1, 5, 100);
}

/* ---- ends */

static void a_way_that_breaks_takes_its_channels(void **state)
{
	fabrics[0].user.broken(fabrics[0].user.arg, fabrics[0].last->peer);
	for (u32 i = 0; i < 2; i++) {
		assert_true(ucx_chan_broken(ends[0].chan[i]));
		assert_int_equal(ends[0].wakes[i], 1);
		assert_int_equal(send_frame(0, i, 0, 100), -WIRE_DOWN);
		ucx_poll(ends[0].u);
		assert_int_equal(fabrics[0].disconnects, 0); /* somebody holds it */
		ucx_chan_free(ends[0].chan[i]);
		ucx_chan_free(ends[1].chan[i]);
	}
	ucx_poll(ends[0].u);
	assert_int_equal(fabrics[0].disconnects, 1);
	join(0); /* to the same worker, by a new way */
	join(1);
	assert_int_equal(fabrics[0].connects, 2);
	assert_int_equal(fabrics[1].connects, 1);
	assert_int_equal(send_frame(0, 0, 4, 100), 0);
	deliver(1, 0, EAGER);
	assert_next(1, 0, 4, 100);
}

#define TEST(f)	  cmocka_unit_test_setup_teardown(f, setup, teardown)
#define HOW(n)	  {"bad_heads_end_one_channel " #n, bad_heads_end_one_channel, setup, teardown, (void *)n}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(frames_are_put_in_order),
	    TEST(a_far_frame_is_waited_for),
	    TEST(a_channel_that_ends_leaves_its_fetch_behind),
	    TEST(a_fetch_that_fails_ends_the_channel),
	    TEST(who_is_not_read_waits),
	    TEST(what_is_taken_rides_along),
	    TEST(strays_reach_nobody),
	    TEST(a_way_that_breaks_takes_its_channels),
	    HOW(0), HOW(1), HOW(2), HOW(3), HOW(4), HOW(5), HOW(6), HOW(7), HOW(8), HOW(9),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
