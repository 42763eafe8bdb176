/* Rules of the protocol that a build for tests can switch off, one at a time, to see that a simulation notices. Everywhere else each is on,
 * and costs nothing. */
#ifndef LEGO_BASE_RULES_H
#define LEGO_BASE_RULES_H

#include "base/types.h"

enum rule {
	RULE_SYNC = 1,	  /* only a standby that holds all is promoted */
	RULE_VERSION = 2, /* an image that is not newer than what is held is dropped */
	RULE_EPOCH = 4,	  /* requests of another epoch are refused */
	RULE_MIRROR = 8,  /* a layout operation is answered when the standby has done it */
	RULE_SEAL = 16,	  /* the source of a move takes nothing while its lines are read */
	RULE_WHOLE = 32,  /* home names the target of a move when that has all lines */
	RULE_DROP = 64,	  /* the source of a move lets go */
	RULE_SILENCE = 256, /* that nobody is heard of loses no memory */
	RULE_JOINED = 128, /* a chain made for a space holds all of it only when the space is on it */
};

#ifdef LEGO_RULES
extern u32 rules_off; /* enum rule */
static inline bool rule_on(enum rule r)
{
	return !(rules_off & (u32)r);
}
#else
static inline bool rule_on(enum rule r)
{
	return true;
}
#endif

#endif
