/* Results as JSON, one value a line. */
#ifndef MT_JSON_LINE_H
#define MT_JSON_LINE_H

#include <jansson.h>

/* Prints the value on standard output, and takes it over. */
void json_line(json_t *value);

#endif
