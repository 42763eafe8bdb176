/* Fixed-width names and the few macros everything uses. Freestanding: no libc. */
#ifndef LEGO_BASE_TYPES_H
#define LEGO_BASE_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int8_t s8;
typedef int16_t s16;
typedef int32_t s32;
typedef int64_t s64;

#define LINE_SHIFT 12
#define LINE_SIZE  4096ull /* bytes; the unit of ExCache, of the wire and of page tables */
#define LINE_MASK  (LINE_SIZE - 1)

#define KIB	      (1ull << 10)
#define MIB	      (1ull << 20)
#define GIB	      (1ull << 30)
#define NSEC_PER_SEC  1000000000ull
#define NSEC_PER_MSEC 1000000ull
#define NSEC_PER_USEC 1000ull

#define ARRAY_SIZE(a)			(sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
#define ALIGN_UP(x, a)			(((x) + ((a)-1)) & ~((a)-1))
#define ALIGN_DOWN(x, a)		((x) & ~((a)-1))
/* Of the common type; each argument is evaluated once. */
#define MIN(a, b)	    PICK(a, <, b, __COUNTER__)
#define MAX(a, b)	    PICK(a, >, b, __COUNTER__)
#define PICK(a, than, b, n) PICK_NAMED(a, than, b, n)
#define PICK_NAMED(a, than, b, n)                                                                                                          \
	({                                                                                                                                 \
		__typeof__(1 ? (a) : (b)) pick_a_##n = (a), pick_b_##n = (b);                                                              \
		pick_a_##n than pick_b_##n ? pick_a_##n : pick_b_##n;                                                                      \
	})
#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#endif
