/* Fat binaries: one file with machine code and PTX of the same kernel, as NVIDIA's `fatbinary` tool writes them
 * uncompressed.
 *
 * The format is not documented. What is here was read off the output of the tool (CUDA 13.0), and the unit test
 * compares with the tool byte for byte where it is installed. All numbers are little-endian.
 *
 *   file    u32 0xba55ed50, u16 version 1, u16 size of this header 16, u64 size of the entries
 *   entry   u16 kind (1 PTX, 2 ELF), u16 0x0101, u32 header size, u64 payload size (padded to 8 bytes, PTX with its
 *           terminating 0), u32 0, u32 offset of the extra part or 0, u16 minor, u16 major (of the ELF ABI, or of the
 *           PTX version), u32 architecture, u64 0, u64 flags, 2 x u64 0
 *   extra   PTX, and cubins from architecture 100 on: u32 offset 72 of the options, u32 length of what follows them,
 * the options with their terminating 0 (none here), for a cubin a copy of its .nv.compat section; padded to 8 bytes */
#ifndef MT_FATBIN_H
#define MT_FATBIN_H

#include "runtime/base/status.h"
#include "runtime/base/str.h"
#include <stdbool.h>
#include <stddef.h>

/* Appends a fat binary of the two to `out`. `arch` is "sm_80", "sm_90a", "sm_100f"; `ptx` is 0-terminated. */
enum mt_status fatbin_write(const char *arch, const void *cubin, size_t cubin_size, const char *ptx, struct str *out);

/* Whether a fat binary for that architecture has code for a GPU of compute capability `cc` (80 for 8.0): a cubin or PTX
 * that its driver takes. That of "sm_90a" runs on 9.0 alone, that of "sm_100f" on 10.x, others from theirs on. */
bool fatbin_runs_on(const char *arch, int cc);

/* MT_OK if the bytes are what fatbin_write() makes for that architecture, of a cubin and a PTX text that both have the
 * kernel `entry` (NULL: the first of the text), and lie within their bounds. A driver is told no size: it reads as far
 * as the bytes say. Fills in what the cubin says of its kernel. */
struct cubin_usage;
enum mt_status fatbin_check(const void *fatbin, size_t size, const char *arch, const char *entry,
                            struct cubin_usage *usage);

/* The machine code inside such a file of `size` bytes; NULL if there is none. Points into `fatbin`. */
const void *fatbin_cubin(const void *fatbin, size_t size, size_t *cubin_size);

#endif
