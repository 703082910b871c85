/*
 * ahead.h - the client while its request waits for somebody else: what it sends
 * ahead is kept, and it is heard when it goes away. Who has asked and closes
 * does not want the answer any more.
 */
#ifndef AHEAD_H
#define AHEAD_H

struct transport;

/* Once, before all else. */
void ahead_init(struct transport *);
/* Between a pause and its resume. */
void ahead_begin(struct transport *);
void ahead_end(struct transport *);

#endif /* AHEAD_H */
