/*
 * hero.c - see hero.h. The words are those of Ecto's changesets, which the
 * original application answers with.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hero.h"

cJSON *
hero_to_json(const struct hero *hero)
{
	cJSON *tree = cJSON_CreateObject();

	cJSON_AddNumberToObject(tree, "id", (double)hero->id);
	cJSON_AddStringToObject(tree, "name", hero->name);
	cJSON_AddStringToObject(tree, "location", hero->location);
	cJSON_AddNumberToObject(tree, "power", hero->power);
	return tree;
}

cJSON *
hero_to_news(const struct hero *hero)
{
	cJSON *tree = hero_to_json(hero);

	cJSON_AddNumberToObject(tree, "updated_at", (double)hero->updated_at);
	return tree;
}

static const cJSON *
member(const cJSON *tree, const char *name)
{
	return cJSON_GetObjectItemCaseSensitive(tree, name);
}

bool
hero_from_news(const cJSON *tree, struct hero *hero)
{
	const cJSON *id = member(tree, "id"), *power = member(tree, "power");
	const cJSON *updated_at = member(tree, "updated_at");

	hero->name = cJSON_GetStringValue(member(tree, "name"));
	hero->location = cJSON_GetStringValue(member(tree, "location"));
	if (!cJSON_IsNumber(id) || !cJSON_IsNumber(power) ||
	    !cJSON_IsNumber(updated_at) || hero->name == NULL ||
	    hero->location == NULL)
		return false;
	hero->id = (long long)id->valuedouble;
	hero->power = power->valueint;
	hero->updated_at = (long long)updated_at->valuedouble;
	return true;
}

/* ---- what a client sent ---- */

static void
add_error(cJSON *errors, const char *name, const char *why)
{
	cJSON *list = cJSON_AddArrayToObject(errors, name);

	cJSON_AddItemToArray(list, cJSON_CreateString(why));
}

static size_t
count_characters(const char *text)
{
	size_t n = 0;

	for (; *text != '\0'; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

/* White space only is as good as nothing. */
static bool
is_blank(const cJSON *value)
{
	if (value == NULL || cJSON_IsNull(value))
		return true;
	return cJSON_IsString(value) &&
	    value->valuestring[strspn(value->valuestring, " \t\r\n")] == '\0';
}

static char *
cast_text(const cJSON *tree, const char *name, bool partial, cJSON *errors)
{
	const cJSON *value = member(tree, name);
	char why[64];

	if (value == NULL && partial)
		return NULL;
	if (is_blank(value))
		add_error(errors, name, "can't be blank");
	else if (!cJSON_IsString(value))
		add_error(errors, name, "is invalid");
	else if (count_characters(value->valuestring) <= STORE_TEXT_MAX)
		return value->valuestring;
	else {
		snprintf(why, sizeof why, "should be at most %d character(s)",
		    STORE_TEXT_MAX);
		add_error(errors, name, why);
	}
	return NULL;
}

/* An integer, or the digits of one. */
static bool
get_integer(const cJSON *value, double *n)
{
	if (cJSON_IsString(value)) {
		const char *s = value->valuestring +
		    (*value->valuestring == '-');

		*n = strtod(value->valuestring, NULL);
		return *s != '\0' && s[strspn(s, "0123456789")] == '\0';
	}
	if (!cJSON_IsNumber(value))
		return false;
	*n = value->valuedouble;
	return *n > 1e15 || *n < -1e15 || *n == (double)(long long)*n;
}

static int
cast_power(const cJSON *tree, bool partial, cJSON *errors)
{
	const cJSON *value = member(tree, "power");
	char why[64];
	double n;

	if (value == NULL && partial)
		return 0;
	if (is_blank(value)) {
		add_error(errors, "power", "can't be blank");
	} else if (!get_integer(value, &n)) {
		add_error(errors, "power", "is invalid");
	} else if (n < 1) {
		add_error(
		    errors, "power", "must be greater than or equal to 1");
	} else if (n > STORE_POWER_MAX) {
		snprintf(why, sizeof why, "must be less than or equal to %d",
		    STORE_POWER_MAX);
		add_error(errors, "power", why);
	} else {
		return (int)n;
	}
	return 0;
}

cJSON *
hero_cast(const cJSON *tree, bool partial, struct hero *hero)
{
	cJSON *errors = cJSON_CreateObject();

	hero->name = cast_text(tree, "name", partial, errors);
	hero->location = cast_text(tree, "location", partial, errors);
	hero->power = cast_power(tree, partial, errors);
	if (errors->child != NULL)
		return errors;
	cJSON_Delete(errors);
	return NULL;
}
