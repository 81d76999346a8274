/* Numbers as programs write them, whatever the locale: the process is somebody's, and may have a decimal comma. */
#ifndef MT_BASE_NUMBER_H
#define MT_BASE_NUMBER_H

#include <locale.h>

/* This thread has the C locale between the two. */
locale_t number_locale_begin(void);
void number_locale_end(locale_t before);

/* strtod() in the C locale. */
double number_parse(const char *text, char **end);

#endif
