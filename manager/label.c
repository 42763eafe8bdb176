/* Labels: words that a component registers with ("ssd", "rack=a") and that placement may ask for. A label has a bit in the cluster; bits are given
 * as labels come, and those that nobody has any more are taken back when there are none left. host=… has no bit: there are as many as hosts. It
 * says which components fail together; without it those do that are reached at one host's address. */
#include "manager/gm_int.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "rpc/labels.h"

static const char host_key[] = "host=";

static bool is_host(const char *label)
{
	return !strncmp(label, host_key, sizeof(host_key) - 1);
}

static s32 bit_of(const struct gm *g, const char *label)
{
	for (u32 i = 0; i < g->nlabels; i++)
		if (!strcmp(g->label[i], label))
			return (s32)i;
	return -1;
}

static bool give_bits(struct gm *g, struct gm_component *c)
{
	char label[WIRE_LABEL_MAX];
	memset(&c->has, 0, sizeof(c->has));
	for (const char *at = c->labels; label_next(&at, label);) {
		s32 bit = is_host(label) ? 0 : bit_of(g, label);
		if (bit < 0 && g->nlabels == PLACE_LABELS)
			return false;
		if (bit < 0) {
			bit = (s32)g->nlabels++;
			strcpy(g->label[bit], label);
		}
		if (!is_host(label))
			label_add(&c->has, (u32)bit);
	}
	return true;
}

static u64 host_of(const struct gm_component *c)
{
	char label[WIRE_LABEL_MAX], host[WIRE_ADDR_MAX] = "";
	for (const char *at = c->labels; label_next(&at, label);)
		if (is_host(label))
			return index_hash(label + sizeof(host_key) - 1);
	const char *from = !strncmp(c->s.addr, "tcp:", 4) ? c->s.addr + 4 : "", *end = strrchr(from, ':');
	if (end)
		memcpy(host, from, (size_t)(end - from));
	return index_hash(host);
}

bool gm_labels_take(struct gm *g, struct gm_component *c)
{
	c->host = host_of(c);
	if (give_bits(g, c))
		return true;
	g->nlabels = 0;
	for (u32 i = 0; i < g->ncomps; i++) {
		if (&g->comps[i] != c)
			(void)give_bits(g, &g->comps[i]); /* they had bits: there are as many */
		gm_touch(g, &g->comps[i]);
	}
	return give_bits(g, c);
}

/* Adds what the text asks for. false: a label of it has no bit, so nobody has it. */
static bool add_need(const struct gm *g, const char *text, struct place_need *need)
{
	char label[WIRE_LABEL_MAX];
	for (const char *at = text ? text : ""; label_next(&at, label);) {
		s32 bit = is_host(label) ? 0 : bit_of(g, label);
		u64 host = is_host(label) ? index_hash(label + sizeof(host_key) - 1) : 0;
		if (bit < 0 || (host && need->host && need->host != host))
			return false;
		if (host)
			need->host = host;
		else
			label_add(&need->labels, (u32)bit);
		need->any = true;
	}
	return true;
}

bool gm_labels_need(const struct gm *g, const struct gm_wish *w, struct place_need *need)
{
	*need = (struct place_need){0};
	return add_need(g, w->labels[0], need) && add_need(g, w->labels[1], need);
}

bool gm_labels_fit(const struct gm *g, const struct gm_component *c, const struct gm_wish *w)
{
	struct place_need need;
	struct place_candidate cand = {.labels = c->has, .host = c->host};
	return gm_labels_need(g, w, &need) && place_fits(&cand, &need);
}

/* ---- why not */

void gm_why(struct gm *g, const char *fmt, ...)
{
	va_list ap;
	if (g->why[0])
		return;
	va_start(ap, fmt);
	vsnprintf(g->why, sizeof(g->why), fmt, ap);
	va_end(ap);
}

static bool anybody(const struct gm *g, u8 kind, const struct gm_wish *w)
{
	for (u32 i = 0; i < g->kind[kind].n; i++)
		if (gm_labels_fit(g, &g->comps[g->kind[kind].cand[i].index], w))
			return true;
	return false;
}

void gm_labels_why(struct gm *g, u8 kind, const struct gm_wish *w)
{
	const char *a = w->labels[0] ? w->labels[0] : "", *b = w->labels[1] ? w->labels[1] : "";
	char label[WIRE_LABEL_MAX];
	for (u32 k = 0; k < ARRAY_SIZE(w->labels); k++)
		for (const char *at = k ? b : a; label_next(&at, label);)
			if (!anybody(g, kind, &(struct gm_wish){.labels = {label}})) {
				gm_why(g, "no %s node has the label %s", gm_kind_name(kind), label);
				return;
			}
	const char *comma = *a && *b ? "," : "";
	if (!anybody(g, kind, w))
		gm_why(g, "no %s node has all of the labels %s%s%s", gm_kind_name(kind), a, comma, b);
	else
		gm_why(g, "no %s node with %s%s%s is up and takes more", gm_kind_name(kind), a, comma, b);
}
