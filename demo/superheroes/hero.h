/*
 * hero.h - heroes as JSON: what the routes and the channel say, and what is
 * wrong with what a client says.
 */
#ifndef HERO_H
#define HERO_H

#include <cjson/cJSON.h>

#include "store.h"

#define HERO_TOPIC "update_superhero" /* create, update, delete of any */

/* {"id", "name", "location", "power"} */
cJSON *hero_to_json(const struct hero *);
/* The same with updated_at: between processes. */
cJSON *hero_to_news(const struct hero *);
/* Takes hero_to_news; texts are lent from the tree. */
bool hero_from_news(const cJSON *, struct hero *);
/*
 * Takes what a client sent of a hero; texts are lent from the tree. partial:
 * what is not there stays as it is. NULL, or {"power": ["must be ..."]}.
 */
cJSON *hero_cast(const cJSON *, bool partial, struct hero *);

#endif /* HERO_H */
