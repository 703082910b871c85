/*
 * fuzz_config.c - any bytes as bennu.conf: refused with an error, or read.
 */
#include <sys/mman.h>

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int fd = memfd_create("bennu.conf", MFD_CLOEXEC);
	struct config *config;
	char path[64], *error = NULL;

	assert(fd != -1 && write(fd, data, size) == (ssize_t)size);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	config = config_load(path, NULL, &error);
	assert((config == NULL) == (error != NULL));
	assert(error == NULL || strncmp(error, path, strlen(path)) == 0);
	if (config != NULL && config->nsockets > 0)
		config_find_channel(
		    &config->sockets[0], (const char *)data, size);
	config_free(config);
	free(error);
	close(fd);
	return 0;
}
