/* What the manager's status says of the cluster's memory, for PD_INFO. */
#include <jansson.h>
#include <string.h>

#include "processor/node/pd_int.h"

void pd_info_take(struct pd *pd, const struct msg *m)
{
	json_t *root = json_loadb((const char *)m->data, m->data_len, 0, NULL), *c;
	size_t i;
	u64 total = 0, used = 0;
	json_array_foreach(json_object_get(root, "components"), i, c)
	{
		const char *kind = json_string_value(json_object_get(c, "kind"));
		if (!kind || strcmp(kind, "memory"))
			continue;
		total += (u64)json_integer_value(json_object_get(c, "total_bytes"));
		used += (u64)json_integer_value(json_object_get(c, "used_bytes"));
	}
	json_decref(root);
	pd->mem_total_bytes = total;
	pd->mem_free_bytes = total - MIN(used, total);
	pd->status_ns = pd_now(pd);
}

static void refreshed(void *self, void *arg, s32 status, const struct msg *m)
{
	if (!status && m)
		pd_info_take(self, m);
}

void pd_info_refresh(struct pd *pd)
{
	(void)gm_link_call(pd->gm, OP_GM_STATUS, NULL, 0, refreshed, NULL);
}
