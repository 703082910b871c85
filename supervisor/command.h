/*
 * command.h - how bennu(1) ends, beside 0.
 */
#ifndef COMMAND_H
#define COMMAND_H

enum status {
	STATUS_FAILED = 1,  /* it has not been done */
	STATUS_USAGE = 2,   /* nor could it be: the arguments */
	STATUS_UNKNOWN = 3, /* it may have been done, or not */
};

#endif /* COMMAND_H */
