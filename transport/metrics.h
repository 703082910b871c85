/*
 * metrics.h - what is counted (common/stats.h), on its way in, from channels,
 * endpoints and connect, and on its way out, as Prometheus reads it.
 */
#ifndef METRICS_H
#define METRICS_H

#include <stdbool.h>

#include "common/envelope.h"
#include "common/json.h"
#include "common/stats.h"

#define METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* An ENVELOPE_TALLY. False: nonsense; what came before it may count. */
bool metrics_take(struct stats *, struct envelope *);
/* All of them, as text. */
void metrics_append(struct json_buffer *, const struct stats *);

#endif /* METRICS_H */
