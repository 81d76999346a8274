#include "codes.h"
#include "runtime/base/str.h"
#include <stdlib.h>

void codes_init(struct codes *codes, int n, int k, int group) {
    const int groups = (k + group - 1) / group;
    *codes = (struct codes){.n = n, .k = k, .group = group, .groups = groups};
    codes->is8 = xcalloc((size_t)n, 1);
    codes->q = xmalloc((size_t)n * (size_t)k);
    codes->scales = xmalloc((size_t)n * (size_t)groups * sizeof *codes->scales);
    codes->zeros = xmalloc((size_t)n * (size_t)groups);
}

void codes_release(struct codes *codes) {
    free(codes->is8);
    free(codes->q);
    free(codes->scales);
    free(codes->zeros);
    *codes = (struct codes){0};
}

int codes_rows8(const struct codes *codes) {
    int rows8 = 0;
    for (int i = 0; i < codes->n; i++)
        rows8 += codes->is8[i] != 0;
    return rows8;
}
