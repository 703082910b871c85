/*
 * config_text.h - the text of bennu.conf before libConfuse sees it.
 *
 * libConfuse skips characters that it does not know (room:* without quotes
 * loses its star), takes the end of the file for a closing brace and comments
 * for values; here all that is refused or taken out, so that what it parses is
 * what was meant.
 */
#ifndef CONFIG_TEXT_H
#define CONFIG_TEXT_H

#include <stddef.h>

#define CONFIG_TEXT_MAX (1024 * 1024) /* bytes of a file */

/*
 * Reads a regular file: its text, malloc'd, comments replaced by spaces; or
 * NULL with *error "bennu.conf:12: what; what to do" (malloc'd).
 */
char *config_text_read(const char *path, char **error);

#endif /* CONFIG_TEXT_H */
