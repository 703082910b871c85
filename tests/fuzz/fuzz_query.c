/*
 * Any text as a query: what comes out must be a JSON object, and query_get must
 * agree with it about what is malformed.
 */
#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/xmalloc.h"
#include "transport/query.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	char *query = xmemdup(bytes, size), *json, *value;
	size_t json_size;

	json = query_to_json(query, &json_size);
	value = query_get(query, "a");
	if (json == NULL) {
		assert(value == NULL && errno == EINVAL);
	} else {
		assert(json_scan_text(json, json_size).kind == JSON_OBJECT);
		assert(strlen(json) == json_size);
	}
	free(value);
	free(json);
	free(query);
	return 0;
}
