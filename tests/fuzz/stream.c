/* A hostile stream: the driver's reassembly of frames and its dispatcher, over bytes in pieces of the fuzzer's choice. rpc/input.c is
 * compiled in with its socket calls replaced; what surrounds it is cut down to what the decoder needs.
 *
 * fuzz-sources: rpc/dispatch.c rpc/shm/ring.c base/string.c spec/ops.c rpc/seal.c rpc/aead.c rpc/chacha_four.c rpc/chacha_vector.S
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>

static const unsigned char *feed;
static size_t feed_len;

static ssize_t fuzz_recv(int fd, void *buf, size_t len, int flags)
{
	size_t n = feed_len ? 1 + feed[0] * 37u : 0;

	if (!feed_len) {
		errno = EAGAIN;
		return -1;
	}
	feed++;
	feed_len--;
	n = n < feed_len ? n : feed_len;
	n = n < len ? n : len;
	memcpy(buf, feed, n);
	feed += n;
	feed_len -= n;
	if (!n)
		errno = EAGAIN;
	return n ? (ssize_t)n : -1;
}

#define recv fuzz_recv
#include "rpc/input.c"
#undef recv

#include "tests/fuzz/conn_stubs.h"

int LLVMFuzzerTestOneInput(const u8 *input, size_t size);

int conn_send(struct host_driver *d, struct conn *c, struct msg_hdr *hdr, const struct wire_seg *segs, u32 nsegs, const int *fds, u32 nfds)
{
	if (nsegs || !(hdr->flags & MSG_REPLY) || !hdr->status)
		abort(); /* only refusals are sent from here */
	return 0;
}

void driver_log(const struct host_driver *d, int level, const char *fmt, ...)
{
}

static void on_message(void *self, conn_id c, const struct msg *m)
{
	const struct op_row *row = op_row(m->hdr.op);
	volatile u8 sum = 0;

	if (!row || (uintptr_t)m->fixed & 7)
		abort();
	for (u32 i = 0; i < m->fixed_len; i++)
		sum += ((const u8 *)m->fixed)[i];
	for (u32 i = 0; i < m->data_len; i++)
		sum += m->data[i];
}

int LLVMFuzzerTestOneInput(const u8 *input, size_t size)
{
	static const struct node_ops ops = {.message = on_message};
	static struct host_driver d;
	struct conn c = {.state = CS_OPEN};

	if (!size)
		return 0;
	d.ops = &ops;
	c.outgoing = input[0] & 0x80;
	c.rights = frame_rights_of(input[0] & 7, c.outgoing, 1);
	feed = input + 1;
	feed_len = size - 1;
	while (c.state == CS_OPEN && (feed_len || c.hot_at)) {
		if (c.hot_at)
			conn_visit(&d, &c);
		else
			conn_readable(&d, &c, EPOLLIN);
	}
	free(c.in);
	return 0;
}
