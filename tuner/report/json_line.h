/* Results as JSON, one value a line. */
#ifndef MT_JSON_LINE_H
#define MT_JSON_LINE_H

#include "runtime/base/str.h"
#include <jansson.h>

/* Appends the value and the end of its line, and takes it over. */
void json_line_append(json_t *value, struct str *out);
/* The same on standard output. */
void json_line(json_t *value);

#endif
