/* Labels as text. */
#include "rpc/labels.h"

#include <string.h>

bool label_next(const char **at, char label[WIRE_LABEL_MAX])
{
	size_t len = strcspn(*at, ",");
	if (!len || len >= WIRE_LABEL_MAX)
		return false;
	memcpy(label, *at, len);
	label[len] = 0;
	*at += len + ((*at)[len] == ',');
	return true;
}

bool labels_ok(const char *text)
{
	static const char may[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.=:";
	char label[WIRE_LABEL_MAX];
	size_t len = strnlen(text, WIRE_LABELS_MAX);
	if (len == WIRE_LABELS_MAX || (len && text[len - 1] == ','))
		return false;
	while (*text)
		if (!label_next(&text, label) || strspn(label, may) != strlen(label))
			return false;
	return true;
}
