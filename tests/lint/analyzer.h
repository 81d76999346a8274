/* For clang-tidy only, put before every file: fail() returns the status that it is given, which an analyzer that sees
 * one file at a time cannot know. */
#include "runtime/base/status.h"
#define fail(status, ...)         (fail((status), __VA_ARGS__), (status))
#define fail_context(status, ...) (fail_context((status), __VA_ARGS__), (status))
