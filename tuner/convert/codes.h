/* The form that all formats are read into and written from: codes, scales and zero points of one linear layer. */
#ifndef MT_CONVERT_CODES_H
#define MT_CONVERT_CODES_H

#include <stdbool.h>
#include <stdint.h>

/* w[n][k] = (q - z) s. Codes of features with 4 bits are 0..15 with zero points 0..15, those of features with 8 bits
 * are -128..127 without. */
struct codes {
    int n, k;
    int group, groups; /* groups = ceil(k / group); group = k where one scale serves all of K */
    bool symmetric;    /* zero points of all features with 4 bits are 8 */
    uint8_t *is8;      /* [n] */
    int8_t *q;         /* [n][k] */
    uint16_t *scales;  /* fp16 [n][groups] */
    uint8_t *zeros;    /* [n][groups]; 0 for features with 8 bits */
};
void codes_init(struct codes *codes, int n, int k, int group);
void codes_release(struct codes *codes);
int codes_rows8(const struct codes *codes);

#endif
