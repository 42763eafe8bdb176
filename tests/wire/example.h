/* Values for examples of wire structs, each its own; a filling function calls its struct s. */
#ifndef LEGO_TESTS_WIRE_EXAMPLE_H
#define LEGO_TESTS_WIRE_EXAMPLE_H

#include <stdio.h>

#include "spec/hello.h"

static u64 fill_count; /* started again for each example */

static inline u64 fill_next(void)
{
	return ++fill_count * 0x0102030405060709ull;
}

#define NUM(field)  (s->field = (__typeof__(s->field))fill_next())
#define TEXT(field) snprintf(s->field, sizeof(s->field), "%s-%u", #field, (unsigned)++fill_count)
#define EACH(field)                                                                                                                        \
	do {                                                                                                                               \
		for (u32 i_ = 0; i_ < ARRAY_SIZE(s->field); i_++)                                                                          \
			s->field[i_] = (__typeof__(s->field[0]))fill_next();                                                               \
	} while (0)

#endif
