/* What writing and reading a bundle have in common. */
#ifndef MT_BUNDLE_PRIVATE_H
#define MT_BUNDLE_PRIVATE_H

#include "bundle.h"
#include <stdbool.h>
#include <stdint.h>

#define BUNDLE_APPLICATION 0x6d787462 /* "mxtb": PRAGMA application_id */
#define BUNDLE_PAGE        4096       /* bytes: PRAGMA page_size */

/* The tables, as bundle_write_all() makes them. A file whose schema is another one is no bundle. */
extern const char bundle_schema[];
/* The words for enum bundle_kind and enum bundle_origin there; each list ends with NULL. */
extern const char *const bundle_kinds[], *const bundle_origins[];

/* MT_FAILURE with the reason if the bundle contradicts itself, or is larger than a bundle can be. */
enum mt_status bundle_check(const struct bundle *bundle);
/* The same of what a file has of all its GPU types together. */
enum mt_status bundle_check_all(const struct bundle *bundles, int count);
/* MT_FAILURE if one of the GPUs cannot be, or is there twice. */
enum mt_status bundle_check_gpus(const struct bundle_fingerprint *gpus, int count);

/* SHA-256 in hex. */
void bundle_digest(const void *data, size_t size, char out[BUNDLE_DIGEST_TEXT]);

/* A file in memory that is a bundle of this version, as far as can be said before SQLite looks at it. */
struct bundle_file {
    unsigned char *data; /* owned: free() */
    size_t size;
};
enum mt_status bundle_file_read(const char *path, const char *sha256, struct bundle_file *out);

/* The seal is a text that stands once in the file: a mark, then the hash of the whole file with zeros in place of the
 * hash. */
extern const char bundle_blank_seal[];
/* Replaces the blank seal of a file in memory by the real one. False if the file has not exactly one mark. */
bool bundle_seal(void *file, size_t size);
/* True if the seal is right. Puts the blank one in its place. */
bool bundle_unseal(void *file, size_t size);

#endif
