/*
 * envelope.c: fields come back as they were put, and a body from a process
 * gone wild is never read beyond its end.
 */
#include <check.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/envelope.h"
#include "common/tree.h"
#include "tests/unit/unit.h"

/* What a reader gets of a writer's body. */
static struct envelope
body_of(const struct envelope_writer *writer)
{
	struct envelope envelope = { .type = ENVELOPE_IN };

	if (writer->size == 0)
		return envelope;
	envelope.data = writer->data + ENVELOPE_HEAD;
	envelope.size = writer->size - ENVELOPE_HEAD;
	return envelope;
}

static void
assert_data(struct envelope *envelope, const void *expected, size_t n)
{
	size_t size;
	const char *data = envelope_get_data(envelope, &size);

	ck_assert(!envelope->bad);
	ck_assert_uint_eq(size, n);
	ck_assert_mem_eq(data, expected, n);
	ck_assert_int_eq(data[n], '\0');
}

#define TYPES 1000 /* more than there are */

START_TEST(names_are_unique)
{
	unsigned n = 0;

	for (unsigned i = 0; i < TYPES; i++) {
		const char *name = envelope_name((enum envelope_type)i);

		if (*name == '?')
			continue;
		n++;
		for (unsigned k = 0; k < i; k++)
			ck_assert_str_ne(
			    name, envelope_name((enum envelope_type)k));
	}
	ck_assert_uint_ge(n, 20);
	ck_assert_str_eq(envelope_name(ENVELOPE_IN), "IN");
	ck_assert_str_eq(envelope_name(ENVELOPE_STOP), "STOP");
	ck_assert_str_eq(envelope_name(ENVELOPE_PS_HELLO), "PS_HELLO");
	ck_assert_str_eq(envelope_name(ENVELOPE_STARTED), "STARTED");
}
END_TEST

START_TEST(other_types_have_no_name)
{
	const uint32_t types[] = { 0, TYPES, 0x7fffffff, 0x80000001,
		0xffffffff };

	for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
		ck_assert_str_eq(
		    envelope_name((enum envelope_type)types[i]), "?");
}
END_TEST

START_TEST(fields_come_back)
{
	struct envelope_writer writer = { 0 };
	struct envelope envelope;
	size_t size;

	envelope_put_u32(&writer, 0);
	envelope_put_u32(&writer, UINT32_MAX);
	envelope_put_u64(&writer, 0x0123456789abcdefULL);
	envelope_put_data(&writer, "a\0b", 3);
	envelope_put_data(&writer, NULL, 0);
	envelope_put_string(&writer, "");
	envelope_put_string(&writer, "text");
	envelope_put_string(&writer, NULL);
	envelope = body_of(&writer);

	ck_assert_uint_eq(envelope_get_u32(&envelope), 0);
	ck_assert_uint_eq(envelope_get_u32(&envelope), UINT32_MAX);
	ck_assert_uint_eq(envelope_get_u64(&envelope), 0x0123456789abcdefULL);
	assert_data(&envelope, "a\0b", 3);
	assert_data(&envelope, "", 0);
	assert_data(&envelope, "", 0);
	ck_assert(!envelope_end(&envelope));
	ck_assert_str_eq(envelope_get_optional(&envelope, &size), "text");
	ck_assert_uint_eq(size, 4);
	ck_assert(!envelope_end(&envelope));
	ck_assert_ptr_null(envelope_get_optional(&envelope, &size));
	ck_assert_uint_eq(size, 0);
	ck_assert(envelope_end(&envelope));
	envelope_writer_free(&writer);
	ck_assert_ptr_null(writer.data);
	ck_assert_uint_eq(writer.size, 0);
}
END_TEST

/* None is not an empty one. */
START_TEST(a_text_or_none)
{
	struct envelope_writer writer = { 0 };
	struct envelope envelope;
	const struct text none = { 0 }, empty = text_lent("", 0),
			  some = text_lent("a\0b", 3);
	struct text text;

	envelope_put_text(&writer, &some);
	envelope_put_text(&writer, &none);
	envelope_put_text(&writer, &empty);
	envelope = body_of(&writer);
	text = envelope_get_optional_text(&envelope);
	ck_assert_uint_eq(text.size, 3);
	ck_assert_mem_eq(text.data, "a\0b", 4);
	text = envelope_get_optional_text(&envelope);
	ck_assert_ptr_null(text.data);
	text = envelope_get_optional_text(&envelope);
	ck_assert_ptr_nonnull(text.data);
	ck_assert_uint_eq(text.size, 0);
	ck_assert(envelope_end(&envelope));
	ck_assert_ptr_null(envelope_get_optional_text(&envelope).data);
	ck_assert(envelope.bad);
	envelope_writer_free(&writer);
}
END_TEST

START_TEST(an_absent_string_is_no_data)
{
	struct envelope_writer writer = { 0 };
	struct envelope envelope;
	size_t size = 7;

	envelope_put_string(&writer, NULL);
	envelope = body_of(&writer);
	ck_assert_str_eq(envelope_get_data(&envelope, &size), "");
	ck_assert_uint_eq(size, 0);
	ck_assert(envelope.bad);
	ck_assert(!envelope_end(&envelope));
	envelope_writer_free(&writer);
}
END_TEST

START_TEST(an_empty_body_gives_zeros)
{
	struct envelope envelope = { .type = ENVELOPE_DONE };
	size_t size = 7;

	ck_assert(envelope_end(&envelope));
	ck_assert_uint_eq(envelope_get_u32(&envelope), 0);
	ck_assert(!envelope_end(&envelope));
	ck_assert_uint_eq(envelope_get_u64(&envelope), 0);
	ck_assert_str_eq(envelope_get_data(&envelope, &size), "");
	ck_assert_uint_eq(size, 0);
	ck_assert_ptr_null(envelope_get_optional(&envelope, &size));
}
END_TEST

/* Once bad, a body gives nothing more, though bytes are left. */
START_TEST(bad_stays_bad)
{
	struct envelope_writer writer = { 0 };
	struct envelope envelope;

	envelope_put_u32(&writer, 5);
	envelope = body_of(&writer);
	ck_assert_uint_eq(envelope_get_u64(&envelope), 0);
	ck_assert(envelope.bad);
	ck_assert_uint_eq(envelope_get_u32(&envelope), 0);
	ck_assert(!envelope_end(&envelope));
	envelope_writer_free(&writer);
}
END_TEST

/*
 * Every prefix lies in memory of exactly its size, where AddressSanitizer sees
 * one byte too many.
 */
START_TEST(every_prefix_is_bad)
{
	struct envelope_writer writer = { 0 };
	struct envelope whole;

	envelope_put_u32(&writer, 1);
	envelope_put_data(&writer, "topic", 5);
	envelope_put_u64(&writer, 2);
	envelope_put_string(&writer, "event");
	whole = body_of(&writer);
	for (size_t n = 0; n <= whole.size; n++) {
		uint8_t *bytes = malloc(n == 0 ? 1 : n);
		struct envelope part = { .data = bytes, .size = n };
		size_t size;

		memcpy(bytes, whole.data, n);
		envelope_get_u32(&part);
		envelope_get_data(&part, &size);
		envelope_get_u64(&part);
		envelope_get_optional(&part, &size);
		ck_assert_int_eq(envelope_end(&part), n == whole.size);
		ck_assert_uint_le(part.at, n);
		free(bytes);
	}
	envelope_writer_free(&writer);
}
END_TEST

START_TEST(sizes_that_lie)
{
	const uint32_t sizes[] = { 4, 5, 100, 0x7fffffff, 0x80000000,
		0xfffffffd, 0xfffffffe };

	/* Three bytes and a NUL follow: 3 fits, more does not. */
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		uint8_t *bytes = calloc(1, 8);
		struct envelope envelope = { .data = bytes, .size = 8 };
		size_t size = 7;

		memcpy(bytes, &sizes[i], 4);
		ck_assert_str_eq(envelope_get_data(&envelope, &size), "");
		ck_assert_uint_eq(size, 0);
		ck_assert(envelope.bad);
		free(bytes);
	}
}
END_TEST

START_TEST(a_string_needs_its_nul)
{
	struct envelope_writer writer = { 0 };
	struct envelope envelope;
	size_t size;

	envelope_put_data(&writer, "abc", 3);
	writer.data[ENVELOPE_HEAD + 4 + 3] = 'd';
	envelope = body_of(&writer);
	ck_assert_ptr_null(envelope_get_optional(&envelope, &size));
	ck_assert_uint_eq(size, 0);
	ck_assert(envelope.bad);
	envelope_writer_free(&writer);
}
END_TEST

START_TEST(raw_fields_are_copied)
{
	struct envelope_writer one = { 0 }, two = { 0 };
	struct envelope envelope;

	envelope_put_string(&one, "topic");
	envelope_put_u32(&one, 9);
	envelope_put_u64(&two, 8);
	envelope_put_raw(
	    &two, one.data + ENVELOPE_HEAD, one.size - ENVELOPE_HEAD);
	envelope_put_raw(&two, NULL, 0);
	envelope_writer_free(&one);
	envelope = body_of(&two);
	ck_assert_uint_eq(envelope_get_u64(&envelope), 8);
	assert_data(&envelope, "topic", 5);
	ck_assert_uint_eq(envelope_get_u32(&envelope), 9);
	ck_assert(envelope_end(&envelope));
	envelope_writer_free(&two);
}
END_TEST

START_TEST(bodies_grow)
{
	struct envelope_writer writer = { 0 };
	struct envelope envelope;
	char *data = malloc(300000);

	memset(data, 'x', 300000);
	for (size_t n = 0; n < 1000; n++)
		envelope_put_data(&writer, data, n);
	envelope_put_data(&writer, data, 300000);
	envelope = body_of(&writer);
	for (size_t n = 0; n < 1000; n++)
		assert_data(&envelope, data, n);
	assert_data(&envelope, data, 300000);
	ck_assert(envelope_end(&envelope));
	free(data);
	envelope_writer_free(&writer);
}
END_TEST

UNIT_MAIN("envelope", names_are_unique, other_types_have_no_name,
    fields_come_back, a_text_or_none, an_absent_string_is_no_data,
    an_empty_body_gives_zeros, bad_stays_bad, every_prefix_is_bad,
    sizes_that_lie, a_string_needs_its_nul, raw_fields_are_copied, bodies_grow)
