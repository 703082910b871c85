/*
 * log.c - see log.h.
 */
#include <sys/mman.h>
#include <sys/stat.h>

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "common/xmalloc.h"
#include "presence/log.h"

#define MAGIC UINT64_C(0x42504c4f47303031)

/* At the beginning of a file. */
struct front {
	uint64_t magic;
	uint64_t generation; /* of two whole files the higher one counts */
};

/* In front of each body. */
struct head {
	uint64_t sum; /* of what follows, with the record's offset */
	uint32_t type;
	uint32_t size; /* of the body */
};

struct presence_log {
	int fds[PRESENCE_LOG_FILES];
	unsigned current; /* which file */
	bool snapshot;    /* the other one is being written */
	uint64_t generation;
	size_t end; /* of what was written to the file that is written to */
};

int
presence_log_files(int fds[PRESENCE_LOG_FILES])
{
	for (int i = 0; i < PRESENCE_LOG_FILES; i++) {
		fds[i] = memfd_create("presence", MFD_CLOEXEC);
		if (fds[i] == -1)
			return -1;
	}
	return 0;
}

/* FNV-1a. */
static uint64_t
sum_of(uint64_t sum, const void *data, size_t size)
{
	const uint8_t *bytes = data;

	for (size_t i = 0; i < size; i++)
		sum = (sum ^ bytes[i]) * UINT64_C(0x100000001b3);
	return sum;
}

static uint64_t
record_sum(const struct head *head, uint64_t offset, const void *body)
{
	uint64_t sum = sum_of(
	    UINT64_C(0xcbf29ce484222325), &offset, sizeof offset);

	sum = sum_of(sum, &head->type, sizeof head->type);
	sum = sum_of(sum, &head->size, sizeof head->size);
	return sum_of(sum, body, head->size);
}

static int
written_fd(const struct presence_log *log)
{
	return log->fds[log->snapshot ? !log->current : log->current];
}

static void
write_at(int fd, const void *data, size_t size, size_t at)
{
	const uint8_t *bytes = data;

	while (size > 0) {
		ssize_t n = pwrite(fd, bytes, size, (off_t)at);

		if (n == -1 && errno == EINTR)
			continue;
		if (n <= 0)
			fatal("presence's log");
		bytes += n;
		at += (size_t)n;
		size -= (size_t)n;
	}
}

static void
cut(int fd, size_t size)
{
	if (ftruncate(fd, (off_t)size) == -1)
		fatal("presence's log");
}

/* ---- what there is ---- */

static size_t
file_size(int fd)
{
	struct stat status;

	if (fstat(fd, &status) == -1)
		fatal("presence's log");
	return (size_t)status.st_size;
}

/* 0: it was never whole. */
static uint64_t
file_generation(int fd)
{
	struct front front;

	if (pread(fd, &front, sizeof front, 0) != sizeof front ||
	    front.magic != MAGIC)
		return 0;
	return front.generation;
}

/* Returns where the last good record ends. */
static size_t
replay(const uint8_t *map, size_t size, presence_log_cb callback, void *arg)
{
	size_t at = sizeof(struct front);
	struct head head;

	while (size - at >= sizeof head) {
		const uint8_t *body = map + at + sizeof head;
		struct envelope envelope = { .data = body };

		memcpy(&head, map + at, sizeof head);
		if (head.size > size - at - sizeof head ||
		    head.sum != record_sum(&head, at, body))
			break;
		envelope.size = head.size;
		if (!callback(head.type, &envelope, arg))
			break;
		at += sizeof head + head.size;
	}
	return at;
}

static void
read_file(struct presence_log *log, presence_log_cb callback, void *arg)
{
	int fd = log->fds[log->current];
	size_t size = file_size(fd);
	uint8_t *map = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);

	if (map == MAP_FAILED)
		fatal("presence's log");
	log->end = replay(map, size, callback, arg);
	munmap(map, size);
	if (log->end == size)
		return;
	/* Its writer was interrupted, or worse: what was told about is lost,
	 * and transports tell what there is. */
	log_warnx(
	    "%zu bytes at the end of presence's log are void", size - log->end);
	cut(fd, log->end);
}

static void
write_front(struct presence_log *log, int fd)
{
	const struct front front = {
		.magic = MAGIC,
		.generation = log->generation,
	};

	write_at(fd, &front, sizeof front, 0);
}

struct presence_log *
presence_log_open(
    const int fds[PRESENCE_LOG_FILES], presence_log_cb callback, void *arg)
{
	struct presence_log *log = xcalloc(1, sizeof *log);

	for (unsigned i = 0; i < PRESENCE_LOG_FILES; i++) {
		uint64_t generation = file_generation(fds[i]);

		log->fds[i] = fds[i];
		if (generation <= log->generation)
			continue;
		log->generation = generation;
		log->current = i;
	}
	if (log->generation > 0) {
		read_file(log, callback, arg);
		return log;
	}
	log->generation = 1;
	cut(fds[0], 0);
	write_front(log, fds[0]);
	log->end = sizeof(struct front);
	return log;
}

void
presence_log_free(struct presence_log *log)
{
	free(log);
}

/* ---- what comes ---- */

/* The head lies in front of the body in the writer's memory: one write. */
void
presence_log_append(struct presence_log *log, enum presence_record type,
    struct envelope_writer *writer)
{
	size_t size = writer->size - ENVELOPE_HEAD;
	struct head head = { .type = type, .size = (uint32_t)size };
	uint8_t *record = xmalloc(sizeof head + size);

	assert(size <= ENVELOPE_MAX);
	memcpy(record + sizeof head, writer->data + ENVELOPE_HEAD, size);
	head.sum = record_sum(&head, log->end, record + sizeof head);
	memcpy(record, &head, sizeof head);
	write_at(written_fd(log), record, sizeof head + size, log->end);
	log->end += sizeof head + size;
	free(record);
	envelope_writer_free(writer);
}

void
presence_log_begin(struct presence_log *log)
{
	assert(!log->snapshot);
	log->snapshot = true;
	/* Without a front it does not count. */
	cut(written_fd(log), 0);
	log->end = sizeof(struct front);
}

void
presence_log_end(struct presence_log *log)
{
	int fd = written_fd(log);

	assert(log->snapshot);
	log->generation++;
	write_front(log, fd);
	cut(log->fds[log->current], 0);
	log->current = !log->current;
	log->snapshot = false;
}

size_t
presence_log_size(const struct presence_log *log)
{
	return log->end;
}
