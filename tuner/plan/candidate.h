/* A candidate: a configuration, or a library kernel, for one problem. */
#ifndef MT_CANDIDATE_H
#define MT_CANDIDATE_H

#include "runtime/base/str.h"
#include "runtime/family/family.h"
#include "workload.h"

/* The last is our own quantize_act.cu: what the activations cost beside the GEMM. */
enum library { LIBRARY_CUBLAS, LIBRARY_CUBLASLT, LIBRARY_QUANTIZE };

struct candidate {
    const struct work_item *item;
    bool baseline;        /* fp16/bf16 instead of the scheme */
    struct config config; /* family NULL: a library kernel */
    enum library library; /* which one */
    int binary;           /* index into the binaries that are planned with it; -1 for a kernel of NVIDIA's libraries */
    double beat_ns;       /* the best time so far: what is over twice as slow is only probed; 0: none */
};

/* "cublas", "cublaslt-best", or the name of the family: as the store has it. */
const char *candidate_family(const struct candidate *candidate);

/* What the store knows of a candidate before it is measured; `config_text` (appended to) holds the configuration
 * and must live as long as the row. */
void candidate_row(const struct candidate *candidate, bool software, struct str *config_text,
                   struct store_measurement *out);
/* Appends "family|config|m|n|k|scheme|rows8|group|dtype": what tells a candidate from all others, on any device. */
void candidate_label(const struct candidate *candidate, bool software, struct str *out);
/* The same of its row in the store. */
void row_label(const struct store_measurement *row, struct str *out);

#endif
