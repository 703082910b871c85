/*
 * names.h - names for those who bring none: "Amber Lantern".
 */
#ifndef NAMES_H
#define NAMES_H

#define NAME_SIZE 32 /* bytes, with the NUL */

/* A random one of some thousands: two may get the same. */
void name_make(char name[NAME_SIZE]);

#endif /* NAMES_H */
