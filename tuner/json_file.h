/* JSON that somebody gave: config.json and T4 files. */
#ifndef MT_TUNER_JSON_FILE_H
#define MT_TUNER_JSON_FILE_H

#include "runtime/base/status.h"
#include <jansson.h>
#include <stddef.h>

/* Bytes of a file. */
#define JSON_CONFIG_MOST ((size_t)4 << 20)
#define JSON_T4_MOST     ((size_t)256 << 20)

/* Reads a file of at most `most` bytes in which no key stands twice. What is wrong with it is `bad`, with a
 * sentence. */
enum mt_status json_file_read(const char *path, size_t most, enum mt_status bad, json_t **out);

#endif
