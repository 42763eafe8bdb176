/* The page store that a test runs over: LEGO_TEST_STORE says which kind; dram when it is not set. As small a front as there can be. */
#ifndef LEGO_TESTS_MEMORY_STORES_H
#define LEGO_TESTS_MEMORY_STORES_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory/page_store.h"
#include "spec/ops.h"
#include "storage_node.h"

static inline u8 test_store_kind(void)
{
	const char *word = getenv("LEGO_TEST_STORE");

	for (u8 k = STORE_DRAM; word && k < STORE_KINDS; k++)
		if (!strcmp(word, store_word(k)))
			return k;
	return STORE_DRAM;
}

/* Of bytes / LINE_SIZE pages. */
static inline struct page_store *test_store_of(u8 kind, u64 bytes)
{
	struct page_store_config cfg = {.kind = kind, .bytes = bytes, .ratio = 1, .front_bytes = LINE_SIZE, .path = ".", .key = storage_node_key};
	char err[STORE_ERROR_MAX];

	if (kind == STORE_SPILL)
		cfg.node = storage_node_start();
	struct page_store *s = page_store_new(&cfg, err);

	if (!s)
		fprintf(stderr, "%s\n", err);
	return s;
}

static inline struct page_store *test_store(u64 bytes)
{
	return test_store_of(test_store_kind(), bytes);
}

#endif
