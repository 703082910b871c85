/*
 * Any bytes as what a token holds, as if they were signed: what comes out is
 * JSON, and can be signed and read again. And any bytes as data to sign.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/token.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static const struct token_key key = { { 1, 2, 3 } };

static void
check_round(const char *json, size_t size)
{
	char *token = token_sign(&key, json, size, 1, TOKEN_ANY_AGE);
	char *back, *again;
	size_t back_size;

	if (token == NULL)
		return; /* too large or deep in this form */
	assert(strlen(token) <= TOKEN_MAX);
	assert(token_verify(&key, token, strlen(token), TOKEN_OWN_AGE, 2, &back,
		   &back_size) == TOKEN_OK);
	assert(strlen(back) == back_size);
	again = token_sign(&key, back, back_size, 1, TOKEN_ANY_AGE);
	assert(again == NULL || strcmp(token, again) == 0);
	free(again);
	free(back);
	free(token);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	char *json;
	size_t json_size;

	(void)token_verify(&key, (const char *)bytes, size, TOKEN_OWN_AGE, 2,
	    &json, &json_size);
	check_round((const char *)bytes, size);
	if (token_read(bytes, size, TOKEN_ANY_AGE, 0, &json, &json_size) !=
	    TOKEN_OK)
		return 0;
	assert(json_scan_text(json, json_size).kind != JSON_BAD);
	check_round(json, json_size);
	free(json);
	return 0;
}
