/* Instruction lengths from tables of what follows each opcode.
 *
 * Zydis would do this and more, but Debian's library is built with vector registers and libc and weighs a megabyte in every process. Only
 * borders are asked for here, so this knows lengths and nothing else, and is conservative: what is rare, reserved, privileged to no
 * purpose in a program, or of different length on Intel and AMD counts as unknown, and unknown code is never touched.
 * tests/unit/rewrite compares every instruction of the distribution's libraries with objdump. */
#include "processor/monitor/rewrite/insn.h"

enum { /* what follows an opcode byte */
	O_BAD = 0,
	O_NONE = 1,
	O_MODRM = 2,
	O_IMM8 = 4,
	O_IMM16 = 8,
	O_IMMZ = 16,  /* 4 bytes, 2 with an operand-size prefix */
	O_REL = 32,   /* 4 bytes; unknown with an operand-size prefix */
	O_IMMV = 64,  /* as O_IMMZ, 8 bytes with REX.W */
	O_MOFFS = 128 /* 8 bytes, 4 with an address-size prefix */
};
#define M	 O_MODRM
#define MI	 (O_MODRM | O_IMM8)
#define MZ	 (O_MODRM | O_IMMZ)
#define N	 O_NONE
#define I	 O_IMM8
#define R(x, n)	 [x ...(x) + (n)-1]
#define ALU(x)	 R(x, 4) = M, [(x) + 4] = I, [(x) + 5] = O_IMMZ

static const u8 one_byte[256] = {
	ALU(0x00), ALU(0x08), ALU(0x10), ALU(0x18), ALU(0x20), ALU(0x28), ALU(0x30), ALU(0x38),
	R(0x50, 16) = N,
	[0x63] = M, [0x68] = O_IMMZ, [0x69] = MZ, [0x6a] = I, [0x6b] = MI,
	R(0x70, 16) = I,
	[0x80] = MI, [0x81] = MZ, [0x83] = MI, R(0x84, 11) = M, [0x8f] = M,
	R(0x90, 10) = N, R(0x9b, 5) = N,
	R(0xa0, 4) = O_MOFFS, R(0xa4, 4) = N, [0xa8] = I, [0xa9] = O_IMMZ, R(0xaa, 6) = N,
	R(0xb0, 8) = I, R(0xb8, 8) = O_IMMV,
	[0xc0] = MI, [0xc1] = MI, [0xc2] = O_IMM16, [0xc3] = N, [0xc6] = MI, [0xc7] = MZ,
	[0xc8] = O_IMM16 | O_IMM8, [0xc9] = N, [0xcc] = N, [0xcd] = I,
	R(0xd0, 4) = M, [0xd7] = N, R(0xd8, 8) = M,
	R(0xe0, 4) = I, [0xe8] = O_REL, [0xe9] = O_REL, [0xeb] = I,
	[0xf4] = N, [0xf5] = N, [0xf6] = M, [0xf7] = M, R(0xf8, 6) = N, [0xfe] = M, [0xff] = M,
};

static const u8 two_byte[256] = { /* 0f xx; with a VEX or EVEX prefix too */
	R(0x00, 2) = M, R(0x02, 2) = M, [0x05] = N, [0x0b] = N, [0x0d] = M,
	R(0x10, 16) = M,
	R(0x28, 8) = M,
	[0x31] = N,
	R(0x40, 16) = M, R(0x50, 16) = M, R(0x60, 16) = M,
	R(0x70, 4) = MI, R(0x74, 3) = M, [0x77] = N, R(0x7c, 4) = M,
	R(0x80, 16) = O_REL, R(0x90, 16) = M,
	R(0xa0, 3) = N, [0xa3] = M, [0xa4] = MI, [0xa5] = M, R(0xa8, 2) = N, [0xab] = M, [0xac] = MI, [0xad] = M, [0xae] = M, [0xaf] = M,
	R(0xb0, 10) = M, [0xba] = MI, R(0xbb, 5) = M,
	R(0xc0, 2) = M, [0xc2] = MI, [0xc3] = M, R(0xc4, 3) = MI, [0xc7] = M, R(0xc8, 8) = N,
	R(0xd0, 47) = M,
};

struct insn {
	const u8 *p;
	u32 at, avail;
	bool opsize, addrsize, rex_w;
};

static bool prefix(struct insn *i, u8 b)
{
	switch (b) {
	case 0x66:
		i->opsize = true;
		return true;
	case 0x67:
		i->addrsize = true;
		return true;
	case 0x26:
	case 0x2e:
	case 0x36:
	case 0x3e:
	case 0x64:
	case 0x65:
	case 0xf0:
	case 0xf2:
	case 0xf3:
		return true;
	default:
		return false;
	}
}

/* Bytes of ModRM with SIB and displacement, from i->at on; 0: out of reach. */
static u32 modrm_length(const struct insn *i)
{
	if (i->at + 2 > i->avail)
		return 0;
	u8 modrm = i->p[i->at], mod = modrm >> 6, rm = modrm & 7;
	u32 n = 1;

	if (mod == 3)
		return n;
	if (rm == 4) {
		n++;
		if (mod == 0 && (i->p[i->at + 1] & 7) == 5)
			return n + 4;
	}
	if (mod == 1)
		return n + 1;
	return mod == 2 || (mod == 0 && rm == 5) ? n + 4 : n;
}

static u32 immediate_length(const struct insn *i, u32 what)
{
	u32 z = i->opsize && !i->rex_w ? 2 : 4;

	return (what & O_IMM8 ? 1 : 0) + (what & O_IMM16 ? 2 : 0) + (what & O_IMMZ ? z : 0) + (what & O_REL ? 4 : 0) +
	       (what & O_IMMV ? (i->rex_w ? 8 : z) : 0) + (what & O_MOFFS ? (i->addrsize ? 4 : 8) : 0);
}

/* The opcode byte is behind i->at. */
static u32 finish(struct insn *i, u32 what)
{
	if (what == O_BAD || (what & O_REL && i->opsize))
		return 0;
	if (what & O_MODRM) {
		u32 n = modrm_length(i);

		if (!n)
			return 0;
		i->at += n;
	}
	i->at += immediate_length(i, what);
	return i->at <= i->avail && i->at <= INSN_MAX ? i->at : 0;
}

static u32 map_length(struct insn *i, u32 map)
{
	if (i->at >= i->avail)
		return 0;
	u8 op = i->p[i->at++];

	switch (map) {
	case 1:
		return finish(i, two_byte[op]);
	case 2:
	case 5: /* half-precision floats */
	case 6:
		return finish(i, O_MODRM);
	case 3:
		return finish(i, O_MODRM | O_IMM8);
	default:
		return 0;
	}
}

/* VEX and EVEX: no other prefix but segment and address size may precede them; none of their immediates depends on operand size. */
static u32 vex_length(struct insn *i, u8 first)
{
	u32 payload = first == 0xc5 ? 1 : first == 0xc4 ? 2 : 3;

	if (i->opsize || i->rex_w || i->at + payload > i->avail)
		return 0;
	u32 map = first == 0xc5 ? 1 : i->p[i->at] & (first == 0xc4 ? 0x1f : 0x07);

	if (first != 0x62 && map > 3)
		return 0;
	i->at += payload;
	return map_length(i, map);
}

/* Groups whose members differ in length or exist only in part. */
static u32 one_byte_length(struct insn *i, u8 op)
{
	u32 what = one_byte[op], reg = i->at < i->avail ? i->p[i->at] >> 3 & 7 : 8;

	bool transaction = reg == 7 && i->p[i->at] == 0xf8; /* xabort, xbegin */

	if ((op == 0xc6 || op == 0xc7 || op == 0x8f) && reg && (op == 0x8f || !transaction))
		return 0;
	if (op == 0xf6 && reg < 2)
		what |= O_IMM8;
	if (op == 0xf7 && reg < 2)
		what |= O_IMMZ;
	return finish(i, what);
}

u32 insn_length(const u8 *p, u32 avail)
{
	struct insn i = {.p = p, .avail = avail};

	while (i.at < avail && i.at < INSN_MAX && prefix(&i, p[i.at]))
		i.at++;
	if (i.at < avail && (p[i.at] & 0xf0) == 0x40)
		i.rex_w = p[i.at++] & 8;
	if (i.at >= avail)
		return 0;
	u8 op = p[i.at++];

	if (op == 0xc4 || op == 0xc5 || op == 0x62)
		return vex_length(&i, op);
	if (op != 0x0f)
		return one_byte_length(&i, op);
	if (i.at >= avail)
		return 0;
	if (p[i.at] == 0x38 || p[i.at] == 0x3a)
		return map_length(&i, p[i.at++] == 0x38 ? 2 : 3);
	return map_length(&i, 1);
}
