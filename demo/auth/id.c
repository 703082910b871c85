/*
 * id.c - see auth.h.
 */
#include <stdio.h>
#include <string.h>

#include "auth.h"

#define INTEGER_MAX 9007199254740991.0 /* of those that a double holds */

bool
auth_id_text(const cJSON *id, char text[AUTH_ID_MAX + 1])
{
	const char *string = cJSON_GetStringValue(id);

	if (string != NULL && *string != '\0' &&
	    strlen(string) <= AUTH_ID_MAX) {
		strcpy(text, string);
		return true;
	}
	if (!cJSON_IsNumber(id) || id->valuedouble < -INTEGER_MAX ||
	    id->valuedouble > INTEGER_MAX ||
	    id->valuedouble != (double)(long long)id->valuedouble)
		return false;
	snprintf(text, AUTH_ID_MAX + 1, "%lld", (long long)id->valuedouble);
	return true;
}
