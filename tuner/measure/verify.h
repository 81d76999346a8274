/* Runs a kernel on a proof and decides whether it is right. */
#ifndef MT_VERIFY_H
#define MT_VERIFY_H

#include "db/store.h"
#include "proof.h"

/* What became of one run. */
struct check {
    enum store_outcome outcome;
    char message[320];      /* one sentence when not OUTCOME_OK */
    struct verdict verdict; /* when it ran */
    uint64_t hash;          /* XXH3 of the output [m][n]: equal for equal bits */
    struct sum_tree sums;   /* every quantised output of the problem of this tree has this hash; none: not quantised */
    bool context_lost;      /* the device's context is unusable, and a new one in this process is no cure */
    bool machine;           /* what the message says befell the machine: it says nothing of the kernel */
};

/* Compares every element of Y with the reference. Y starts as NaN, rows have a margin, and guards lie before and after;
 * a kernel that writes outside its rows, or leaves a split-K counter set, is wrong. Trouble on the way to the launch is
 * an outcome too: nothing here is an error of the caller. */
void verify_gemm(struct proof *proof, const struct kernel *kernel, struct check *out);

/* Quantises x on the device with the kernel of kernel_load_quantize() and compares codes, scales and sums with the
 * host's, bit for bit. Later runs of verify_gemm() read the device's. */
void verify_quantize(struct proof *proof, const struct kernel *kernel, struct check *out);

/* Which outcome the failure of a launch or of the wait for it is, and whether the context survived it. Fills outcome,
 * message (from fail_message()), context_lost and machine, by device_error(): it must be CUDA_SUCCESS before the work
 * that failed. */
void check_failure(struct device *dev, struct check *out);
/* It ran, and is wrong: how. */
void check_wrong(struct check *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
