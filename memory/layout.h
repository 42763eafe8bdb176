/* Between space.c and layout.c. */
#ifndef LEGO_MEMORY_LAYOUT_H
#define LEGO_MEMORY_LAYOUT_H

#include "memory/space.h"

/* Would the node and the space's limit stand this change? May finish off dying spaces to make room. */
bool space_may_charge(const struct space *s, u64 charge, u64 uncharge);

/* After a change: the charge was `before`. What was reserved is used up first. */
void space_account(struct space *s, u64 before);

#endif
