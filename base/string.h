/* String functions for the freestanding monitor; ordinary builds take libc's. */
#ifndef LEGO_BASE_STRING_H
#define LEGO_BASE_STRING_H

#include "base/types.h"

#if defined(LEGO_MONITOR)
void *memcpy(void *dst, const void *src, size_t len);
void *memmove(void *dst, const void *src, size_t len);
void *memset(void *dst, int byte, size_t len);
int memcmp(const void *a, const void *b, size_t len);
size_t strlen(const char *s);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t len);
char *strchr(const char *s, int c);
char *strrchr(const char *s, int c);
#else
#include <string.h>
#endif

/* A multiple of 64 bytes between memory that is in no cache of this core, such as what another core wrote and a page long unused: asks for
 * both a little ahead, which takes half of the time of `rep movsb`. */
void copy_far(void *dst, const void *src, size_t len);
/* Copies src with its NUL, cut to cap - 1 bytes. Returns strlen(src). */
size_t str_copy(char *dst, const char *src, size_t cap);

#endif
