/* What writing and reading a bundle have in common. */
#ifndef MT_BUNDLE_PRIVATE_H
#define MT_BUNDLE_PRIVATE_H

#include "bundle.h"
#include <stdbool.h>
#include <stdint.h>

#define BUNDLE_APPLICATION 0x6d787462 /* "mxtb": PRAGMA application_id */
#define HASH_TEXT          33         /* 32 hex digits and the 0 */

/* MT_FAILURE with the reason if the bundle contradicts itself. */
enum mt_status bundle_check(const struct bundle *bundle);

/* XXH3-128 in hex. */
void bundle_hash(const void *data, size_t size, char out[HASH_TEXT]);

/* The seal is a text that stands once in the file: a mark, then the hash of the whole file with zeros in place of the
 * hash. */
extern const char bundle_blank_seal[];
/* Replaces the blank seal of a file in memory by the real one. False if the file has not exactly one mark. */
bool bundle_seal(void *file, size_t size);
/* True if the seal is right. Puts the blank one in its place. */
bool bundle_unseal(void *file, size_t size);

#endif
