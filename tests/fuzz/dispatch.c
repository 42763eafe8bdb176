/* The check of frames and of the HELLO structs, over any bytes and any sender.
 *
 * fuzz-sources: rpc/dispatch.c rpc/handshake.c spec/ops.c
 * fuzz-libs: libsodium
 */
#include <stdlib.h>
#include <string.h>

#include "rpc/dispatch.h"
#include "rpc/handshake.h"

int LLVMFuzzerTestOneInput(const u8 *input, size_t size);

static void frames(const u8 *input, size_t size)
{
	struct frame_rights rights = frame_rights_of(input[0] & 7, input[0] & 0x80, 1);
	u8 *frame = malloc(size);
	struct msg m;

	if (!frame)
		return;
	memcpy(frame, input + 1, size - 1);
	if (input[0] & 0x40 && size - 1 >= 4) {
		u32 len = (u32)size - 1; /* an honest length leads further in */

		memcpy(frame, &len, sizeof(len));
	}
	if (!frame_check(frame, (u32)size - 1, &rights, &m)) {
		const struct op_row *row = op_row(m.hdr.op);
		bool reply = m.hdr.flags & MSG_REPLY;

		if (!row || sizeof(m.hdr) + m.fixed_len + m.data_len != size - 1)
			abort();
		if (!reply && !(row->from & rights.from))
			abort();
		if (m.data_len > (reply ? row->max_rep_data : row->max_req_data))
			abort();
		if (!reply && row->cls == OP_ONCE && (m.hdr.session != 1 || m.hdr.slot >= SESSION_SLOTS))
			abort();
	}
	free(frame);
}

static void hellos(const u8 *input, size_t size)
{
	static const u8 key[32] = {1};
	struct greeting g = {0};
	struct hello h = {0};
	struct welcome w = {0};
	u8 secret[32];

	memcpy(&h, input, MIN(size, sizeof(h)));
	memcpy(&w, input, MIN(size, sizeof(w)));
	if (!handshake_check_hello(&h, &g, key))
		abort(); /* nobody guesses the mac */
	handshake_sign(&h, &g, key, secret);
	if (!handshake_check_hello(&h, &g, key) && (strnlen(h.name, sizeof(h.name)) == sizeof(h.name) || h.role > ROLE_READER))
		abort();
	handshake_sign(&h, &g, key, secret); /* a fresh nonce */
	if (!handshake_check_welcome(&w, &h, key))
		abort(); /* nor this one */
}

int LLVMFuzzerTestOneInput(const u8 *input, size_t size)
{
	if (!size)
		return 0;
	frames(input, size);
	hellos(input + 1, size - 1);
	return 0;
}
