/*
 * token_keys.c - see token_keys.h.
 */
#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "common/page.h"
#include "common/token_keys.h"
#include "common/xmalloc.h"

struct entry {
	uint32_t size;
	char salt[TOKEN_KEYS_SALT];
	struct token_key key;
};

struct table {
	_Atomic uint32_t n; /* so many are written, and change no more */
	struct entry entries[TOKEN_KEYS_MAX];
};

static_assert(sizeof(struct table) <= 4096, "one page");

struct token_keys {
	struct page page; /* of struct table */
};

struct token_keys *
token_keys_map(void)
{
	struct token_keys *keys = xcalloc(1, sizeof *keys);

	if (page_map(&keys->page, "token_keys", sizeof(struct table)))
		return keys;
	free(keys);
	return NULL;
}

void
token_keys_inherit(struct token_keys *keys, bool inherit)
{
	if (keys != NULL)
		page_inherit(&keys->page, inherit);
}

const struct token_key *
token_keys_find(const struct token_keys *keys, const char *salt, size_t size)
{
	const struct table *table = keys->page.read;
	uint32_t n = atomic_load(&table->n);

	for (uint32_t i = 0; i < n; i++) {
		const struct entry *entry = &table->entries[i];

		if (entry->size == size && memcmp(entry->salt, salt, size) == 0)
			return &entry->key;
	}
	return NULL;
}

bool
token_keys_has_room(const struct token_keys *keys, size_t salt_size)
{
	const struct table *table = keys->page.read;

	return salt_size <= TOKEN_KEYS_SALT &&
	    atomic_load(&table->n) < TOKEN_KEYS_MAX;
}

void
token_keys_add(struct token_keys *keys, const struct secrets *secrets,
    const char *salt, size_t size)
{
	struct table *table = keys->page.written;
	struct entry *entry;

	if (!token_keys_has_room(keys, size) ||
	    token_keys_find(keys, salt, size) != NULL)
		return;
	entry = &table->entries[atomic_load(&table->n)];
	memcpy(entry->salt, salt, size);
	entry->size = (uint32_t)size;
	token_key_derive(&entry->key, secrets->token_secret,
	    secrets->token_secret_size, salt, size);
	atomic_fetch_add(&table->n, 1);
}
