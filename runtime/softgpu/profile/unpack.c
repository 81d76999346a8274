/* The two compressions of fat binary payloads. */
#include "image.h"
#include <string.h>
#include <zstd.h>

bool dev_unpack_zstd(const uint8_t *in, size_t in_size, uint8_t *out, size_t out_size) {
    return ZSTD_decompress(out, out_size, in, in_size) == out_size;
}

/* A length of 15 goes on in the next bytes, until one is below 255. */
static bool long_length(const uint8_t **at, const uint8_t *end, size_t *length) {
    if (*length != 15)
        return true;
    for (;;) {
        if (*at >= end)
            return false;
        uint8_t more = *(*at)++;
        *length += more;
        if (more != 255)
            return true;
    }
}

/* LZ4 block format (github.com/lz4/lz4, doc/lz4_Block_format.md): a token with two lengths, literals, then a match
 * that may overlap its own output; the last sequence has literals only. */
bool dev_unpack_lz4(const uint8_t *in, size_t in_size, uint8_t *out, size_t out_size) {
    const uint8_t *end = in + in_size;
    size_t done = 0;
    while (in < end) {
        uint8_t token = *in++;
        size_t literals = token >> 4, match = token & 15;
        if (!long_length(&in, end, &literals) || literals > (size_t)(end - in) || literals > out_size - done)
            return false;
        memcpy(out + done, in, literals);
        done += literals;
        in += literals;
        if (in == end)
            break;
        if (end - in < 2)
            return false;
        size_t distance = in[0] | (size_t)in[1] << 8;
        in += 2;
        if (!long_length(&in, end, &match) || distance == 0 || distance > done || match + 4 > out_size - done)
            return false;
        for (match += 4; match > 0; match--, done++)
            out[done] = out[done - distance];
    }
    return done == out_size;
}
