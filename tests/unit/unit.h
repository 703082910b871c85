/*
 * unit.h - the frame of a test program: UNIT_MAIN("module", test, test, ...).
 * Check forks each test into a process group of its own and kills the group
 * afterwards, so that a failing test leaves nothing behind.
 */
#ifndef UNIT_H
#define UNIT_H

#include <check.h>
#include <stddef.h>
#include <stdlib.h>

#define UNIT_TIMEOUT 60 /* s for each test */

static inline int
unit_main(const char *name, const TTest *const *tests, size_t n)
{
	Suite *suite = suite_create(name);
	SRunner *runner;
	int failed;

	for (size_t i = 0; i < n; i++) {
		TCase *tcase = tcase_create(tests[i]->name);

		tcase_set_timeout(tcase, UNIT_TIMEOUT);
		tcase_add_test(tcase, tests[i]);
		suite_add_tcase(suite, tcase);
	}
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#define UNIT_MAIN(module, ...)                                      \
	int main(void)                                              \
	{                                                           \
		const TTest *const tests[] = { __VA_ARGS__ };       \
		return unit_main(                                   \
		    module, tests, sizeof tests / sizeof tests[0]); \
	}

#endif /* UNIT_H */
