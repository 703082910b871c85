/*
 * store.c - see store.h.
 *
 * The database is in WAL mode: readers never wait, and a writer that is killed
 * leaves a log whose end the next one ignores. An answer is given when the
 * commit is on the disk (synchronous = FULL).
 */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "store.h"

struct store {
	sqlite3 *db;
};

/* Each once, in this order; what was released is never changed. */
static const char *const migrations[] = {
	"CREATE TABLE superheroes ("
	"id INTEGER PRIMARY KEY AUTOINCREMENT,"
	"name TEXT NOT NULL,"
	"location TEXT NOT NULL,"
	"power INTEGER NOT NULL CHECK (power BETWEEN 1 AND 100),"
	"inserted_at INTEGER NOT NULL,"
	"updated_at INTEGER NOT NULL) STRICT",

	"INSERT INTO superheroes"
	" (name, location, power, inserted_at, updated_at) VALUES"
	" ('Bennu', 'Heliopolis', 97, 0, 0),"
	" ('Captain Fork', 'Murray Hill', 88, 0, 0),"
	" ('The Reaper', 'Zombie Creek', 64, 0, 0),"
	" ('Lady Mailbox', 'Socketpair Bay', 73, 0, 0),"
	" ('Doctor Signal', 'Mount Sigaction', 51, 0, 0)",
};
#define NMIGRATIONS ((int)(sizeof migrations / sizeof migrations[0]))

static long long
now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (long long)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static enum store_status
status_of(int rc)
{
	switch (rc & 0xff) {
	case SQLITE_OK:
	case SQLITE_ROW:
	case SQLITE_DONE:
		return STORE_OK;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return STORE_BUSY;
	default:
		return STORE_BROKEN;
	}
}

const char *
store_error(const struct store *store)
{
	return sqlite3_errmsg(store->db);
}

/* ---- opening ---- */

static int
run(struct store *store, const char *sql)
{
	return sqlite3_exec(store->db, sql, NULL, NULL, NULL);
}

/* sqlite waits for no lock while it changes the mode of a new file. */
static int
set_wal(struct store *store)
{
	int rc = run(store, "PRAGMA journal_mode = WAL");

	for (int ms = 0; status_of(rc) == STORE_BUSY && ms < STORE_WAIT;
	     ms += 10) {
		usleep(10000);
		rc = run(store, "PRAGMA journal_mode = WAL");
	}
	return rc;
}

static int
read_version(struct store *store, int *version)
{
	sqlite3_stmt *stmt = NULL;
	int rc = sqlite3_prepare_v2(store->db,
	    "SELECT coalesce(max(version), 0) FROM schema_migrations", -1,
	    &stmt, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW)
		*version = sqlite3_column_int(stmt, 0);
	sqlite3_finalize(stmt);
	return rc == SQLITE_ROW ? SQLITE_OK : rc;
}

static int
migrate_one(struct store *store, int version)
{
	char sql[128];
	int rc = run(store, migrations[version - 1]);

	if (rc != SQLITE_OK)
		return rc;
	snprintf(sql, sizeof sql,
	    "INSERT INTO schema_migrations VALUES (%d, %lld)", version,
	    now_us());
	return run(store, sql);
}

/* Who comes second finds nothing left to do. */
static int
migrate(struct store *store)
{
	int version = 0, rc;

	if (read_version(store, &version) == SQLITE_OK &&
	    version >= NMIGRATIONS)
		return SQLITE_OK;
	rc = run(store, "BEGIN IMMEDIATE");
	if (rc != SQLITE_OK)
		return rc;
	rc = run(store,
	    "CREATE TABLE IF NOT EXISTS schema_migrations ("
	    "version INTEGER PRIMARY KEY, inserted_at INTEGER NOT NULL) "
	    "STRICT");
	if (rc == SQLITE_OK)
		rc = read_version(store, &version);
	while (rc == SQLITE_OK && version < NMIGRATIONS)
		rc = migrate_one(store, ++version);
	if (rc == SQLITE_OK)
		rc = run(store, "COMMIT");
	if (rc != SQLITE_OK && !sqlite3_get_autocommit(store->db))
		run(store, "ROLLBACK");
	return rc;
}

enum store_status
store_open(const char *path, struct store **result, char *error, size_t size)
{
	struct store *store = calloc(1, sizeof *store);
	int rc;

	*result = NULL;
	if (store == NULL) {
		snprintf(error, size, "out of memory");
		return STORE_BROKEN;
	}
	rc = sqlite3_open(path, &store->db);
	if (rc == SQLITE_OK)
		rc = sqlite3_busy_timeout(store->db, STORE_WAIT);
	if (rc == SQLITE_OK)
		rc = set_wal(store);
	if (rc == SQLITE_OK)
		rc = run(store, "PRAGMA synchronous = FULL");
	if (rc == SQLITE_OK)
		rc = migrate(store);
	if (rc == SQLITE_OK) {
		*result = store;
		return STORE_OK;
	}
	snprintf(error, size, "%s: %s", path, store_error(store));
	store_close(store);
	return status_of(rc);
}

void
store_close(struct store *store)
{
	if (store == NULL)
		return;
	sqlite3_close(store->db);
	free(store);
}

/* ---- heroes ---- */

#define COLUMNS "id, name, location, power, updated_at"

/* A text that is owned and never NULL: the column is NOT NULL. */
static char *
copy_text(sqlite3_stmt *stmt, int column)
{
	const char *text = (const char *)sqlite3_column_text(stmt, column);
	char *copy = strdup(text == NULL ? "" : text);

	if (copy == NULL)
		abort();
	return copy;
}

static struct hero
hero_of(sqlite3_stmt *stmt)
{
	return (struct hero){
		.id = sqlite3_column_int64(stmt, 0),
		.name = copy_text(stmt, 1),
		.location = copy_text(stmt, 2),
		.power = sqlite3_column_int(stmt, 3),
		.updated_at = sqlite3_column_int64(stmt, 4),
	};
}

void
hero_clear(struct hero *hero)
{
	free(hero->name);
	free(hero->location);
	hero->name = hero->location = NULL;
}

enum store_status
store_each(
    struct store *store, void (*each)(const struct hero *, void *), void *arg)
{
	sqlite3_stmt *stmt = NULL;
	int rc = sqlite3_prepare_v2(store->db,
	    "SELECT " COLUMNS " FROM superheroes ORDER BY id", -1, &stmt, NULL);

	while (rc == SQLITE_OK || rc == SQLITE_ROW) {
		rc = sqlite3_step(stmt);
		if (rc == SQLITE_ROW) {
			struct hero hero = hero_of(stmt);

			each(&hero, arg);
			hero_clear(&hero);
		}
	}
	sqlite3_finalize(stmt);
	return status_of(rc);
}

static int
bind(sqlite3_stmt *stmt, const struct hero *hero)
{
	const struct {
		const char *name;
		const char *text;
	} texts[] = {
		{ ":name", hero->name },
		{ ":location", hero->location },
	};
	const struct {
		const char *name;
		long long number;
	} numbers[] = {
		{ ":id", hero->id },
		{ ":power", hero->power },
		{ ":now", now_us() },
	};
	int rc = SQLITE_OK, at;

	for (size_t i = 0; i < 2 && rc == SQLITE_OK; i++) {
		at = sqlite3_bind_parameter_index(stmt, texts[i].name);
		if (at > 0)
			rc = sqlite3_bind_text(
			    stmt, at, texts[i].text, -1, SQLITE_TRANSIENT);
	}
	for (size_t i = 0; i < 3 && rc == SQLITE_OK; i++) {
		at = sqlite3_bind_parameter_index(stmt, numbers[i].name);
		if (at > 0)
			rc = sqlite3_bind_int64(stmt, at, numbers[i].number);
	}
	return rc;
}

/*
 * One statement about one hero, which returns it. It is committed when sqlite
 * says that it is done, not before.
 */
static enum store_status
run_one(struct store *store, const char *sql, struct hero *hero)
{
	struct hero found = { 0 };
	sqlite3_stmt *stmt = NULL;
	bool any = false;
	int rc = sqlite3_prepare_v2(store->db, sql, -1, &stmt, NULL);

	if (rc == SQLITE_OK)
		rc = bind(stmt, hero);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW) {
		found = hero_of(stmt);
		any = true;
		rc = sqlite3_step(stmt);
	}
	sqlite3_finalize(stmt);
	*hero = found;
	if (rc != SQLITE_DONE)
		return status_of(rc) == STORE_BUSY ? STORE_BUSY : STORE_BROKEN;
	return any ? STORE_OK : STORE_NONE;
}

enum store_status
store_get(struct store *store, struct hero *hero)
{
	return run_one(
	    store, "SELECT " COLUMNS " FROM superheroes WHERE id = :id", hero);
}

enum store_status
store_insert(struct store *store, struct hero *hero)
{
	return run_one(store,
	    "INSERT INTO superheroes"
	    " (name, location, power, inserted_at, updated_at)"
	    " VALUES (:name, :location, :power, :now, :now)"
	    " RETURNING " COLUMNS,
	    hero);
}

/* A clock that goes back makes no write older than the one before. */
enum store_status
store_update(struct store *store, struct hero *hero)
{
	return run_one(store,
	    "UPDATE superheroes SET name = coalesce(:name, name),"
	    " location = coalesce(:location, location),"
	    " power = coalesce(nullif(:power, 0), power),"
	    " updated_at = max(:now, updated_at + 1)"
	    " WHERE id = :id RETURNING " COLUMNS,
	    hero);
}

enum store_status
store_delete(struct store *store, struct hero *hero)
{
	return run_one(store,
	    "DELETE FROM superheroes WHERE id = :id"
	    " RETURNING id, name, location, power, max(:now, updated_at + 1)",
	    hero);
}
