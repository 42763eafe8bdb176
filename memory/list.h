/* A doubly-linked ring with a head, linked through a member of the element. Unlinking needs no head, and twice is harmless. */
#ifndef LEGO_MEMORY_LIST_H
#define LEGO_MEMORY_LIST_H

#include "base/types.h"

struct list {
	struct list *prev, *next;
};

static inline void list_init(struct list *l)
{
	l->prev = l->next = l;
}

static inline bool list_empty(const struct list *l)
{
	return l->next == l;
}

static inline void list_unlink(struct list *n)
{
	n->prev->next = n->next;
	n->next->prev = n->prev;
	list_init(n);
}

/* At the end of head's ring; n must be unlinked or never linked. */
static inline void list_append(struct list *head, struct list *n)
{
	n->prev = head->prev;
	n->next = head;
	head->prev->next = n;
	head->prev = n;
}

#define list_entry(node, type, member) container_of(node, type, member)
#define list_first(head, type, member) list_entry((head)->next, type, member)
/* The body may unlink and free the current element, no other. */
#define list_for_each(var, head, type, member)                                                                                             \
	for (struct list *var##_at = (head)->next, *var##_next = var##_at->next;                                                           \
	     var##_at != (head) && (var = list_entry(var##_at, type, member), 1); var##_at = var##_next, var##_next = var##_at->next)

#endif
