/* Labels as text: words with commas between, as they stand in options, in lego.conf and on the wire. */
#ifndef LEGO_RPC_LABELS_H
#define LEGO_RPC_LABELS_H

#include "spec/wire.h"

/* The next label of a list, from *at on. false: there is none, or it is too long. */
bool label_next(const char **at, char label[WIRE_LABEL_MAX]);
/* Is it a list of labels that fits a message? An empty one is. */
bool labels_ok(const char *text);

#endif
