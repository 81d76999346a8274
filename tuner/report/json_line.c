#include "json_line.h"
#include <stdio.h>
#include <stdlib.h>

void json_line_append(json_t *value, struct str *out) {
    char *text = json_dumps(value, JSON_COMPACT | JSON_REAL_PRECISION(15));
    str_printf(out, "%s\n", text ? text : "{}");
    free(text);
    json_decref(value);
}

void json_line(json_t *value) {
    struct str line = {0};
    json_line_append(value, &line);
    fwrite(line.data, 1, line.length, stdout);
    str_release(&line);
}
