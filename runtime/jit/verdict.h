/* Whose fault it is that something was not compiled: the source's, or the machine's. */
#ifndef MT_VERDICT_H
#define MT_VERDICT_H

#include "runtime/base/str.h"
#include <stdbool.h>

/* Whether a sentence of the compiler, the loader or the system speaks of what runs short: memory, files, disk. */
bool speaks_of_shortage(const char *text);

/* Whether the compiler's log finds fault with the source. A log that speaks of memory, of files or of the compiler
 * itself, and one that says nothing, does not: the same source may compile a moment later. Appends to `line` the line
 * that says most, "" if there is none; control characters, and bytes that are no UTF-8, come as \xNN. */
bool log_is_verdict(const char *log, struct str *line);

#endif
