/*
 * text.h - the program's code in a huge page. All workers are forks of one
 * process: each maps the code anew, 64 kB with each fault, and unmaps it page
 * by page at its end; a huge page is one entry, and one fault.
 */
#ifndef TEXT_H
#define TEXT_H

/* Before the first fork. What does not work is left as it was. */
void text_huge(void);

#endif /* TEXT_H */
