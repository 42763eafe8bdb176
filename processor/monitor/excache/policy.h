/* Replacement policies of a set. */
#ifndef LEGO_MONITOR_POLICY_H
#define LEGO_MONITOR_POLICY_H

#include "processor/monitor/excache/excache.h"

const struct policy_ops *policy_ops(u32 policy); /* enum boot_policy; unknown: the default */

#endif
