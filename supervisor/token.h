/*
 * token.h - bennu token: signs and verifies with a server's secret, of which
 * nothing runs.
 */
#ifndef SUPERVISOR_TOKEN_H
#define SUPERVISOR_TOKEN_H

#include <stdbool.h>

#include "common/config.h"

/*
 * argv[0] is "sign" or "verify"; config is the server's file, or NULL. False:
 * the arguments make no sense, and nothing was said. *status is what the
 * program ends with.
 */
bool token_command(const char *config, const struct config_arguments *,
    int argc, char **argv, int *status);

#endif /* SUPERVISOR_TOKEN_H */
