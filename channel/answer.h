/*
 * answer.h - what the answer of a handler may be. The endpoint asks, so that
 * the author hears of a mistake, and the transport asks again: the other end
 * may be an author's code gone wild.
 */
#ifndef ANSWER_H
#define ANSWER_H

#include <stdbool.h>
#include <stddef.h>

#include "common/json.h"

#define ANSWER_JSON "application/json; charset=utf-8"

bool answer_status_is_good(int status);
/* May it stand behind the colon of a header? */
bool answer_value_is_good(const char *, size_t);
/* May an author set it? Not those that Bennu makes itself. */
bool answer_name_is_good(const char *, size_t);
/* {"errors":{"detail":"Not Found"}}; detail NULL: the words of the status. */
void answer_append_error(struct json_buffer *, int status, const char *detail);

#endif /* ANSWER_H */
