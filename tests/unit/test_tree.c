/*
 * common/tree.h: the order of names, and a tree of them against a sorted list.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/tree.h"
#include "tests/unit/unit.h"

struct node {
	struct text name;
	RB_ENTRY(node) entry;
};
RB_HEAD(names, node);

static int
node_compare(const struct node *a, const struct node *b)
{
	return text_compare(&a->name, &b->name);
}

TREE_GENERATE(names, node, entry, node_compare)

static void
assert_before(const char *a, size_t a_size, const char *b, size_t b_size)
{
	struct text one = text_lent(a, a_size), two = text_lent(b, b_size);

	ck_assert_int_lt(text_compare(&one, &two), 0);
	ck_assert_int_gt(text_compare(&two, &one), 0);
	ck_assert_int_eq(text_compare(&one, &one), 0);
	ck_assert_int_eq(text_compare(&two, &two), 0);
}

START_TEST(order_of_names)
{
	assert_before("", 0, "a", 1);
	assert_before("", 0, "\0", 1);
	assert_before("a", 1, "b", 1);
	assert_before("a", 1, "ab", 2);
	assert_before("ab", 2, "b", 1);
	assert_before("a", 1, "a\0", 2);
	assert_before("a\0a", 3, "a\0b", 3);
	assert_before("a\0", 2, "a\1", 2);
	assert_before("z", 1, "\xc3\xa4", 2); /* bytes have no sign */
	assert_before("\x7f", 1, "\x80", 1);
}
END_TEST

#define NAMES 500

static struct node nodes[NAMES];
static bool inside[NAMES];

static struct node *
find(struct names *tree, const struct text *name)
{
	struct node key = { .name = *name };

	return RB_FIND(names, tree, &key);
}

/* All in order, each once, and nothing else. */
static void
assert_tree(struct names *tree)
{
	struct node *node, *last = NULL;
	size_t n = 0;

	RB_FOREACH (node, names, tree) {
		ck_assert(inside[node - nodes]);
		if (last != NULL)
			ck_assert_int_lt(node_compare(last, node), 0);
		last = node;
		n++;
	}
	for (size_t i = 0; i < NAMES; i++)
		n -= inside[i];
	ck_assert_uint_eq(n, 0);
}

static void
make_names(void)
{
	for (size_t i = 0; i < NAMES; i++) {
		char *data = malloc(24);

		/* A NUL inside, sizes that differ. */
		nodes[i].name.size = (size_t)snprintf(
		    data, 24, "%zu:%zu", i % 7, i);
		data[1] = i % 2 == 0 ? '\0' : ':';
		nodes[i].name.data = data;
	}
}

START_TEST(as_a_sorted_list)
{
	struct names tree = RB_INITIALIZER(&tree);

	make_names();
	srandom(1);
	for (int step = 0; step < 20000; step++) {
		size_t i = (size_t)random() % NAMES;
		struct node *found = find(&tree, &nodes[i].name);

		ck_assert_ptr_eq(found, inside[i] ? &nodes[i] : NULL);
		if (inside[i])
			RB_REMOVE(names, &tree, &nodes[i]);
		else
			ck_assert_ptr_null(RB_INSERT(names, &tree, &nodes[i]));
		inside[i] = !inside[i];
		if (step % 100 == 0)
			assert_tree(&tree);
	}
	assert_tree(&tree);
	for (size_t i = 0; i < NAMES; i++)
		free(nodes[i].name.data);
}
END_TEST

UNIT_MAIN("tree", order_of_names, as_a_sorted_list)
