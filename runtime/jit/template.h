/* The kernel templates: CUDA C++ files that the library carries, made into one text each for the compiler. */
#ifndef MT_TEMPLATE_H
#define MT_TEMPLATE_H

#include "runtime/base/status.h"
#include "runtime/base/str.h"

/* Appends a template with its #include "..." lines replaced by what they name, each file once, so that one text says
 * all that a kernel depends on. #line directives keep the compiler's messages true. MT_OK: `out` has all of it. */
enum mt_status template_expand(const char *name, struct str *out);

/* XXH3-128 of the text, in hex. MT_FAILURE if memory was short for the text. */
enum mt_status text_hash(const struct str *text, char out[33]);

#endif
