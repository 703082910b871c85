/*
 * text.h - all code in huge pages. Workers are forks of one process: each maps
 * the code anew, 64 kB with each fault, and unmaps it page by page at its end.
 * Of a huge page the program's own code is one entry and one fault; that of the
 * libraries, which do not lie at its beginning, goes faster, too.
 */
#ifndef TEXT_H
#define TEXT_H

/* Before the first fork, when all is loaded. What does not work is left as it
 * was. */
void text_huge(void);

#endif /* TEXT_H */
