/* Files and the places where the project's own files are. */
#ifndef MT_BASE_FILE_H
#define MT_BASE_FILE_H

#include "status.h"
#include "str.h"
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Appends the whole file to `out`, which a failure leaves as it was. Only files are read: a pipe would wait for its
 * writer, and a device may have no end. */
enum mt_status file_read(const char *path, struct str *out);
/* The same of a file of at most `most` bytes; what is none or has more is `bad`, with a sentence. */
enum mt_status file_read_most(const char *path, size_t most, enum mt_status bad, struct str *out);

/* Most bytes of a text that people write. */
enum { FILE_TEXT_MOST = 1 << 20 };
/* The same of a text that somebody gave, without the mark of byte order; what is no text (UTF-16, a byte that is 0) is
 * `bad`, too. */
enum mt_status file_read_text(const char *path, size_t most, enum mt_status bad, struct str *out);

/* Writes a temporary beside `path`, flushes it to disk and renames it, so that readers see the old file or
 * the whole new one. A full disk or a read-only folder is a sentence; the old file stays.
 * A `path` that is a device or a pipe is written to as it is, never replaced. */
enum mt_status file_write_atomic(const char *path, const void *data, size_t size);

/* MT_FAILURE with what went wrong (errno) while `doing` something to `path`, and what to do about it. */
enum mt_status file_fail(const char *doing, const char *path);
/* Appends what is left of an open file; `bad` and a sentence if that is more than `most` bytes. */
enum mt_status file_read_all(const char *path, int fd, size_t most, enum mt_status bad, struct str *out);
/* What is no plain file: "a folder", "a pipe", "a socket", "a device"; of st_mode. */
const char *file_kind(mode_t mode);
/* All of it, in as many pieces as it takes. False with errno. */
bool file_write_all(int fd, const void *data, size_t size);
/* A rename is on disk only when the folder of `path` is. */
void file_flush_folder(const char *path);

/* MT_FAILURE unless this process can open `count` more files now. */
enum mt_status descriptors_check(int count);

/* mkdir -p. */
enum mt_status folder_make(const char *path);

/* Appends the folder of the library or program that holds this code, without the trailing slash. False if it is
 * unknown. */
bool own_folder(struct str *out);

/* Finds configs/<kind>/<name>[.<ext>]: `name` itself if it is a path to an existing file; else below $MIXTUNE_CONFIGS,
 * below ../configs or ../share/mixtune/configs of the running library, or the configs/ of the source tree. */
enum mt_status config_find(const char *kind, const char *name, const char *ext, struct str *path);

/* $MIXTUNE_CACHE_DIR, else $XDG_CACHE_HOME/mixtune, else ~/.cache/mixtune. Not created here. */
enum mt_status cache_folder(struct str *path);

/* $XDG_RUNTIME_DIR/mixtune, else mixtune-UID in /tmp: a folder of this user on this machine, made when it is missing.
 * MT_FAILURE where it is not this user's alone. */
enum mt_status runtime_folder(struct str *path);

#endif
