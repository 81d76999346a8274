#include "json_line.h"
#include <stdio.h>
#include <stdlib.h>

void json_line(json_t *value) {
    char *text = json_dumps(value, JSON_COMPACT | JSON_REAL_PRECISION(15));
    puts(text ? text : "{}");
    free(text);
    json_decref(value);
}
