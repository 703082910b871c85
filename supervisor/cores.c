/*
 * cores.c - see cores.h. The supervisor does it, right behind the fork: a
 * process that runs already has to be moved, which costs 5 % of a connect.
 */
#include <errno.h>
#include <sched.h>

#include "common/log.h"
#include "supervisor/cores.h"

void
cores_pin(pid_t transport, uint64_t connection)
{
	cpu_set_t all, one;
	int n, skip;

	if (sched_getaffinity(0, sizeof all, &all) == -1)
		return; /* more cores than fit: the scheduler's own choice */
	n = CPU_COUNT(&all);
	if (n < 2)
		return;
	skip = (int)(connection % (unsigned)n);
	CPU_ZERO(&one);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &all) && skip-- == 0) {
			CPU_SET(cpu, &one);
			break;
		}
	if (sched_setaffinity(transport, sizeof one, &one) == -1 &&
	    errno != ESRCH)
		log_warn("sched_setaffinity");
}
