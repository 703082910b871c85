/*
 * config_value.c - what the values of bennu.conf may look like.
 */
#include <ctype.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "common/address.h"
#include "common/config_value.h"

#define NAME_MAX_BYTES 64 /* longer names are not compared */

struct unit {
	const char *name;
	long long factor;
};

static const struct unit sizes[] = {
	{ "k", 1000LL },
	{ "M", 1000LL * 1000 },
	{ "G", 1000LL * 1000 * 1000 },
	{ "T", 1000LL * 1000 * 1000 * 1000 },
	{ "Ki", 1LL << 10 },
	{ "Mi", 1LL << 20 },
	{ "Gi", 1LL << 30 },
	{ "Ti", 1LL << 40 },
	{ NULL, 0 },
};

static const struct unit times[] = {
	{ "ms", 1LL },
	{ "s", 1000LL },
	{ "min", 60 * 1000LL },
	{ "h", 60 * 60 * 1000LL },
	{ NULL, 0 },
};

static const char *const too_large = "this number is too large";

/* Digits, and what is behind them. */
static const char *
parse_digits(const char *text, long long *value, const char **rest)
{
	long long n = 0;

	if (*text == '-')
		return "a negative number means nothing here";
	if (!isdigit((unsigned char)*text))
		return "a number is expected";
	for (; isdigit((unsigned char)*text); text++)
		if (__builtin_mul_overflow(n, 10LL, &n) ||
		    __builtin_add_overflow(n, (long long)(*text - '0'), &n))
			return too_large;
	*value = n;
	*rest = text;
	return NULL;
}

static const struct unit *
find_unit(const struct unit *units, const char *name)
{
	for (; units->name != NULL; units++)
		if (strcmp(units->name, name) == 0)
			return units;
	return NULL;
}

const char *
config_value_number(const char *text, long long *value)
{
	bool minus = text[0] == '-' && isdigit((unsigned char)text[1]);
	const char *rest, *why;

	why = parse_digits(text + minus, value, &rest);
	if (why != NULL)
		return why;
	if (*rest != '\0')
		return "a whole number without a unit is expected";
	if (minus)
		*value = -*value;
	return NULL;
}

const char *
config_value_size(const char *text, long long *value)
{
	const struct unit *unit;
	const char *rest, *why;

	why = parse_digits(text, value, &rest);
	if (why != NULL)
		return why;
	if (*rest == '\0')
		return NULL;
	unit = find_unit(sizes, rest);
	if (unit == NULL)
		return "a size is a whole number of bytes, or ends in k, M, G (powers of 1000) or Ki, Mi, Gi (of 1024)";
	if (__builtin_mul_overflow(*value, unit->factor, value))
		return too_large;
	return NULL;
}

const char *
config_value_time(const char *text, long long *value)
{
	const struct unit *unit;
	const char *rest, *why;

	why = parse_digits(text, value, &rest);
	if (why != NULL)
		return why;
	if (*rest == '\0' && *value == 0)
		return NULL;
	unit = find_unit(times, rest);
	if (unit == NULL)
		return *rest == '\0'
		    ? "a time needs a unit: ms, s, min or h"
		    : "a time is a whole number and its unit: ms, s, min or h";
	if (__builtin_mul_overflow(*value, unit->factor, value))
		return too_large;
	return NULL;
}

const char *
config_value_bool(const char *text, bool *value)
{
	static const char *const yes[] = { "true", "yes", "on" };
	static const char *const no[] = { "false", "no", "off" };

	for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++) {
		*value = strcmp(text, yes[i]) == 0;
		if (*value || strcmp(text, no[i]) == 0)
			return NULL;
	}
	return "it is either on or off (true, false, yes, no)";
}

static bool
is_lower_or_digit(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static const char *
check_scheme(const char *scheme, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (!is_lower_or_digit(scheme[i]) &&
		    strchr("+-.", scheme[i]) == NULL)
			return "the scheme is written in lower case, as in https://example.com";
	return NULL;
}

static const char *
check_ipv6_host(const char *host, size_t size)
{
	for (size_t i = 1; i + 1 < size; i++)
		if (!isxdigit((unsigned char)host[i]) && host[i] != ':' &&
		    host[i] != '.')
			return "between [ and ] must be an IPv6 address";
	return size > 2 ? NULL : "an address must stand between [ and ]";
}

static const char *
check_host(const char *host, size_t size)
{
	if (size > 2 && host[0] == '*' && host[1] == '.') {
		host += 2;
		size -= 2;
	}
	if (size == 0)
		return "a host is missing, as in //example.com";
	if (size > 255)
		return "this host is too long";
	if (host[0] == '[' && host[size - 1] == ']')
		return check_ipv6_host(host, size);
	for (size_t i = 0; i < size; i++) {
		if (host[i] == '*')
			return "a * may only stand for the first part of a host: *.example.com";
		if (host[i] == '/')
			return "an origin has no path; end it behind the host or port";
		if (isupper((unsigned char)host[i]))
			return "origins are compared byte by byte; write the host in lower case";
		if (!is_lower_or_digit(host[i]) &&
		    (host[i] == '\0' || strchr("-._", host[i]) == NULL))
			return "a host has letters, digits, - and .; write other names as xn--";
	}
	return NULL;
}

const char *
config_value_host(const char *host)
{
	if (strchr(host, '*') != NULL)
		return "a host is expected, without *";
	return check_host(host, strlen(host));
}

const char *
config_value_origin(const char *rule)
{
	const char *slashes = strstr(rule, "//");
	const char *host, *end, *why;
	size_t scheme;

	if (slashes == NULL)
		return "a rule is //host, //host:port or scheme://host[:port]";
	scheme = (size_t)(slashes - rule);
	if (scheme > 0) {
		if (scheme == 1 || rule[scheme - 1] != ':')
			return "a rule is //host, //host:port or scheme://host[:port]";
		why = check_scheme(rule, scheme - 1);
		if (why != NULL)
			return why;
	}
	host = slashes + 2;
	end = host;
	if (*host == '[')
		end += strcspn(host, "]");
	end += strcspn(end, ":");
	why = check_host(host, (size_t)(end - host));
	if (why != NULL || *end == '\0')
		return why;
	if (address_parse_port(end + 1) < 1)
		return "behind : must be a port, 1 to 65535";
	return NULL;
}

static bool
is_dots(const char *segment, size_t size)
{
	return (size == 1 && segment[0] == '.') ||
	    (size == 2 && segment[0] == '.' && segment[1] == '.');
}

const char *
config_value_mount(const char *path)
{
	if (path[0] != '/')
		return "it must begin with /";
	while (*path == '/') {
		size_t size = strcspn(++path, "/");

		if (size == 0)
			return "a path such as \"/socket\" is expected, without empty parts";
		if (is_dots(path, size))
			return "it may not have . or .. as a part";
		for (size_t i = 0; i < size; i++)
			if (!isalnum((unsigned char)path[i]) &&
			    strchr("-._~", path[i]) == NULL)
				return "it may only have letters, digits and - . _ ~ (no variables, no escapes)";
		path += size;
	}
	return NULL;
}

const char *
config_value_module(const char *module)
{
	const char *colon = strrchr(module, ':');

	if (colon == NULL || colon == module || colon[1] == '\0' ||
	    colon[-1] == '/')
		return "a module is a file and a name in it, as in \"demo.so:room\"";
	for (const char *p = colon + 1; *p != '\0'; p++)
		if (!isalnum((unsigned char)*p) && *p != '_')
			return "behind the last : must be a name in C, as in \"demo.so:room\"";
	return NULL;
}

static size_t
min3(size_t a, size_t b, size_t c)
{
	size_t ab = a < b ? a : b;

	return ab < c ? ab : c;
}

/* Levenshtein's distance; strangers in case are neighbours. */
static size_t
edit_distance(const char *a, const char *b)
{
	size_t row[NAME_MAX_BYTES + 1];
	size_t na = strlen(a), nb = strlen(b);

	if (na > NAME_MAX_BYTES || nb > NAME_MAX_BYTES)
		return SIZE_MAX;
	for (size_t j = 0; j <= nb; j++)
		row[j] = j;
	for (size_t i = 1; i <= na; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= nb; j++) {
			size_t up = row[j];
			bool same = tolower((unsigned char)a[i - 1]) ==
			    tolower((unsigned char)b[j - 1]);

			row[j] = min3(
			    up + 1, row[j - 1] + 1, diagonal + (same ? 0 : 1));
			diagonal = up;
		}
	}
	return row[nb];
}

void
config_guess(struct config_guess *guess, const char *candidate)
{
	size_t distance = edit_distance(guess->written, candidate);
	size_t near = strlen(candidate) / 3 + 1;

	if (distance > near || distance >= strlen(candidate))
		return;
	if (guess->best != NULL && guess->distance <= distance)
		return;
	guess->best = candidate;
	guess->distance = distance;
}
