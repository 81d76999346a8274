/* Results as JSON, one value a line. */
#ifndef MT_JSON_LINE_H
#define MT_JSON_LINE_H

#include "runtime/base/str.h"
#include <jansson.h>

/* A text from elsewhere as a value: as it is where it is UTF-8, else made visible. For json_pack(): "so". */
json_t *json_text(const char *text);

/* Appends the value, and takes it over. What a terminal obeys and what is not seen (runtime/base/visible.h) is escaped
 * in its strings, which stay the same. `flags` are those of json_dumps(). */
void json_append(json_t *value, size_t flags, struct str *out);
/* The same, and the end of its line. */
void json_line_append(json_t *value, struct str *out);
/* The same on standard output. */
void json_line(json_t *value);

#endif
