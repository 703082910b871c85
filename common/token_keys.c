/*
 * token_keys.c - see token_keys.h.
 */
#include <sys/mman.h>

#include <assert.h>
#include <stdatomic.h>
#include <string.h>

#include "common/log.h"
#include "common/token_keys.h"

struct entry {
	_Atomic uint64_t hash; /* of its salt, for which it is taken; 0: free */
	_Atomic bool ready;    /* what follows is written */
	uint32_t size;
	char salt[TOKEN_KEYS_SALT];
	struct token_key key;
};

struct token_keys {
	struct entry entries[TOKEN_KEYS_MAX];
};

static_assert(sizeof(struct token_keys) <= 4096, "one page");

struct token_keys *
token_keys_map(void)
{
	void *map = mmap(NULL, sizeof(struct token_keys),
	    PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return map == MAP_FAILED ? NULL : map;
}

void
token_keys_inherit(struct token_keys *keys, bool inherit)
{
	if (keys != NULL &&
	    madvise(keys, sizeof *keys,
		inherit ? MADV_DOFORK : MADV_DONTFORK) == -1)
		fatal("the page of keys");
}

/* FNV-1a, never 0. */
static uint64_t
hash(const char *salt, size_t size)
{
	uint64_t sum = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < size; i++)
		sum = (sum ^ (unsigned char)salt[i]) * UINT64_C(0x100000001b3);
	return sum | 1;
}

static const struct token_key *
find(struct token_keys *keys, uint64_t sum, const char *salt, size_t size)
{
	for (size_t i = 0; i < TOKEN_KEYS_MAX; i++) {
		struct entry *entry = &keys->entries[i];
		uint64_t taken = atomic_load(&entry->hash);

		if (taken == 0)
			break;
		if (taken == sum && atomic_load(&entry->ready) &&
		    entry->size == size && memcmp(entry->salt, salt, size) == 0)
			return &entry->key;
	}
	return NULL;
}

/* The first free one, unless somebody has taken one for that salt. */
static struct entry *
take(struct token_keys *keys, uint64_t sum)
{
	for (size_t i = 0; i < TOKEN_KEYS_MAX; i++) {
		struct entry *entry = &keys->entries[i];
		uint64_t taken = 0;

		if (atomic_compare_exchange_strong(&entry->hash, &taken, sum))
			return entry;
		if (taken == sum)
			break;
	}
	return NULL;
}

static void
keep(struct token_keys *keys, uint64_t sum, const char *salt, size_t size,
    const struct token_key *key)
{
	struct entry *entry = take(keys, sum);

	if (entry == NULL)
		return;
	memcpy(entry->salt, salt, size);
	entry->size = (uint32_t)size;
	entry->key = *key;
	atomic_store(&entry->ready, true);
}

const struct token_key *
token_keys_get(struct token_keys *keys, const struct secrets *secrets,
    const char *salt, size_t size, struct token_key *own)
{
	bool fits = keys != NULL && size <= TOKEN_KEYS_SALT;
	uint64_t sum = fits ? hash(salt, size) : 0;
	const struct token_key *key;

	key = fits ? find(keys, sum, salt, size) : NULL;
	if (key != NULL)
		return key;
	token_key_derive(
	    own, secrets->token_secret, secrets->token_secret_size, salt, size);
	if (fits)
		keep(keys, sum, salt, size, own);
	return own;
}
