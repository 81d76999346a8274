/* YAML that somebody gave, by a schema of libcyaml. That takes 64.5 for 64, the first of two equal keys, of two
 * documents the first, and aliases of aliases until the memory ends: the text is walked through before, and what
 * libcyaml would misread is refused with its line. */
#ifndef MT_YAML_YAML_H
#define MT_YAML_YAML_H

#include "runtime/base/str.h"
#include <cyaml/cyaml.h>
#include <stdbool.h>

/* What is wrong with a text. */
struct yaml_fault {
    char reason[200];
    int line;
    char unknown[80];    /* the key that the schema does not have; "": something else is wrong */
    const char *mapping; /* the key of the mapping that it stands in; NULL: the outermost */
};

/* Sets `out` to what the schema makes of the text, NULL if there is nothing in it. False: see `fault`. Keys that are
 * not in the schema are a fault only if it is `whole`. */
bool yaml_schema_load(const struct str *text, const cyaml_schema_value_t *schema, bool whole, void **out,
                      struct yaml_fault *fault);

/* Frees what yaml_schema_load() made; NULL is none. */
void yaml_schema_free(const cyaml_schema_value_t *schema, void *data);

#endif
