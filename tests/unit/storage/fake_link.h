/* A pool in memory, in the place of librados (storage/rados/link.h): what was asked for is done when somebody waits or reaps, in order, until
 * a limit; what comes after it never happens and never ends, as if the process had been killed there. The pool outlives its links. */
#ifndef LEGO_TESTS_FAKE_LINK_H
#define LEGO_TESTS_FAKE_LINK_H

#include "base/types.h"

void fake_reset(void); /* an empty pool, no limit */
void fake_limit(u64 n); /* so many operations more */
u64 fake_done(void);	/* since the last fake_limit */
u32 fake_objects(char first); /* whose names begin so */

#endif
