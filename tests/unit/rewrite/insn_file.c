/* Reads lines "ADDRESS: HEX BYTES" of a disassembly and says for each whether insn_length() agrees: it must give that many bytes, or 0
 * (unknown). Ends with the figures; fails on any disagreement, or when more than one in a thousand is unknown. Run by insn_test.py. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "processor/monitor/rewrite/insn.h"

int main(void)
{
	char line[256];
	unsigned long n = 0, unknown = 0, wrong = 0;

	while (fgets(line, sizeof(line), stdin)) {
		u8 bytes[INSN_MAX + 16];
		u32 len = 0;
		char *at = strchr(line, ':'), *end;

		for (at = at ? at + 1 : line; len < INSN_MAX; at = end) {
			unsigned long b = strtoul(at, &end, 16);

			if (end == at)
				break;
			bytes[len++] = (u8)b;
		}
		if (!len)
			continue;
		memset(bytes + len, 0xcc, sizeof(bytes) - len);
		u32 got = insn_length(bytes, sizeof(bytes));

		n++;
		unknown += !got;
		if (got && got != len && wrong++ < 20)
			printf("%u bytes, not %u: %s", len, got, line);
		if (!got && unknown < 20 && getenv("SHOW_UNKNOWN"))
			printf("unknown: %s", line);
	}
	printf("%lu instructions, %lu unknown, %lu wrong\n", n, unknown, wrong);
	return wrong || unknown > n / 1000 || n < 100000;
}
