/*
 * answer.c - see answer.h.
 */
#include <http_parser.h>
#include <string.h>
#include <strings.h>

#include "channel/answer.h"

bool
answer_status_is_good(int status)
{
	return status >= 200 && status <= 599;
}

bool
answer_value_is_good(const char *value, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		unsigned char c = (unsigned char)value[i];

		if ((c < ' ' && c != '\t') || c == 0x7f)
			return false;
	}
	return true;
}

/* What says where the answer ends, and what Bennu says itself. */
static bool
name_is_ours(const char *name)
{
	static const char cors[] = "Access-Control-";
	static const char *const names[] = { "Connection", "Content-Length",
		"Content-Type", "Date", "Keep-Alive", "Trailer",
		"Transfer-Encoding", "Upgrade" };

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		if (strcasecmp(names[i], name) == 0)
			return true;
	return strncasecmp(name, cors, strlen(cors)) == 0;
}

bool
answer_name_is_good(const char *name, size_t size)
{
	static const char allowed[] =
	    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	    "!#$%&'*+-.^_`|~";

	return size > 0 && strspn(name, allowed) == size && !name_is_ours(name);
}

void
answer_append_error(struct json_buffer *out, int status, const char *detail)
{
	if (detail == NULL)
		detail = http_status_str((enum http_status)status);
	json_append_text(out, "{\"errors\":{\"detail\":");
	json_append_string(out, detail, strlen(detail));
	json_append_text(out, "}}");
}
