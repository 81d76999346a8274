#include "number.h"
#include <pthread.h>
#include <stdlib.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static locale_t plain;

static void plain_init(void) {
    plain = newlocale(LC_ALL_MASK, "C", (locale_t)0); /* takes no memory */
}

locale_t number_locale_begin(void) {
    pthread_once(&once, plain_init);
    return plain ? uselocale(plain) : (locale_t)0;
}

void number_locale_end(locale_t before) {
    if (before)
        uselocale(before);
}

double number_parse(const char *text, char **end) {
    const locale_t before = number_locale_begin();
    const double value = strtod(text, end);
    number_locale_end(before);
    return value;
}
