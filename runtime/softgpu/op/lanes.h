/* Lane loops: how an instruction handler is made of an expression on one lane.
 *
 * LANES_1(name, D, S, expr), LANES_2, LANES_3 define the handler `name` that computes `expr` of a, b, c (type S, from
 * the sources) into a destination of type D. With all 32 lanes active the loop writes in place, so that the compiler
 * turns it into a few vector instructions; otherwise it computes all lanes and keeps the inactive ones. The expression
 * must therefore be defined for any operand. Several hundred handlers differ in nothing else: this is the one place
 * where the project defines functions by macro.
 *
 * A destination may be a source's own slot but never overlaps it in part (ptx/insn.h), hence NO_DEPENDENCE. */
#ifndef SG_OP_LANES_H
#define SG_OP_LANES_H

#include "numeric.h"
#include "runtime/softgpu/warp/warp.h"

#ifdef __clang__
#pragma clang diagnostic ignored "-Wpass-failed" /* a loop with a call in it stays scalar */
#define NO_DEPENDENCE _Pragma("clang loop vectorize(assume_safety)")
#else
#define NO_DEPENDENCE _Pragma("GCC ivdep")
#endif

/* Results of the active lanes go to the destination's slot; `size` is that of a lane. */
void lanes_store(const struct warp *w, const struct operand *o, const void *value, unsigned size);

static inline bool lanes_all(const struct warp *w) {
    return w->exec == (uint32_t)FULL_MASK;
}

#define LANES_BODY(D, load, expr)                                                                                      \
    D *d = dst_lanes(w, &i->dst[0]), kept[LANES];                                                                      \
    if (lanes_all(w)) {                                                                                                \
        NO_DEPENDENCE for (int l = 0; l < LANES; l++) {                                                                \
            load;                                                                                                      \
            d[l] = (D)(expr);                                                                                          \
        }                                                                                                              \
        return;                                                                                                        \
    }                                                                                                                  \
    NO_DEPENDENCE for (int l = 0; l < LANES; l++) {                                                                    \
        load;                                                                                                          \
        kept[l] = (D)(expr);                                                                                           \
    }                                                                                                                  \
    lanes_store(w, &i->dst[0], kept, sizeof(D));

#define LANES_1(name, D, S, expr)                                                                                      \
    static void name(struct warp *w, const struct insn *i) {                                                           \
        const S *pa = src_lanes(w, &i->src[0]);                                                                        \
        LANES_BODY(D, const S a = pa[l], expr)                                                                         \
    }
#define LANES_2(name, D, S, expr)                                                                                      \
    static void name(struct warp *w, const struct insn *i) {                                                           \
        const S *pa = src_lanes(w, &i->src[0]), *pb = src_lanes(w, &i->src[1]);                                        \
        LANES_BODY(D, const S a = pa[l]; const S b = pb[l], expr)                                                      \
    }
#define LANES_3(name, D, S, expr)                                                                                      \
    static void name(struct warp *w, const struct insn *i) {                                                           \
        const S *pa = src_lanes(w, &i->src[0]), *pb = src_lanes(w, &i->src[1]), *pc = src_lanes(w, &i->src[2]);        \
        LANES_BODY(D, const S a = pa[l]; const S b = pb[l]; const S c = pc[l], expr)                                   \
    }
/* The third source has its own type. */
#define LANES_21(name, D, S, C, expr)                                                                                  \
    static void name(struct warp *w, const struct insn *i) {                                                           \
        const S *pa = src_lanes(w, &i->src[0]), *pb = src_lanes(w, &i->src[1]);                                        \
        const C *pc = src_lanes(w, &i->src[2]);                                                                        \
        LANES_BODY(D, const S a = pa[l]; const S b = pb[l]; const C c = pc[l], expr)                                   \
    }
/* The second source has its own type: shift counts. */
#define LANES_11(name, D, S, B, expr)                                                                                  \
    static void name(struct warp *w, const struct insn *i) {                                                           \
        const S *pa = src_lanes(w, &i->src[0]);                                                                        \
        const B *pb = src_lanes(w, &i->src[1]);                                                                        \
        LANES_BODY(D, const S a = pa[l]; const B b = pb[l], expr)                                                      \
    }

/* One row of a group's table: an instruction of this opcode and type that carries exactly these flags (of those in the
 * group's mask) runs so. */
struct op_row {
    uint16_t op;
    uint8_t type;
    uint64_t flags;
    op_fn *run;
};
/* The shape of a multiplication, kept in insn.aux when it is bound. */
_Static_assert(sizeof(struct mma_shape) <= sizeof((struct insn *)0)->aux, "insn.aux holds a shape");
static inline void shape_keep(struct insn *i, struct mma_shape shape) {
    memcpy(i->aux, &shape, sizeof shape);
}
static inline struct mma_shape shape_of(const struct insn *i) {
    struct mma_shape shape;
    memcpy(&shape, i->aux, sizeof shape);
    return shape;
}

/* For instructions of a whole warp: false after a fault when a lane is missing. */
bool lanes_whole(struct warp *w, const struct insn *i);

op_fn *op_row_find(const struct op_row *row, size_t count, enum ptx_op op, enum ptx_type type, uint64_t flags);

/* The groups. Each returns NULL for what it does not know. */
op_fn *op_int_find(struct insn *i);     /* integer arithmetic */
op_fn *op_carry_find(struct insn *i);   /* .cc, addc, subc, madc */
op_fn *op_bits_find(struct insn *i);    /* logic, shifts, fields, permutations */
op_fn *op_float_find(struct insn *i);   /* f32 and f64 arithmetic */
op_fn *op_approx_find(struct insn *i);  /* ex2, lg2, sin, cos, rcp, sqrt, rsqrt, tanh, div */
op_fn *op_half_find(struct insn *i);    /* f16, bf16 and their pairs */
op_fn *op_compare_find(struct insn *i); /* setp, set, selp, slct, testp */
op_fn *op_move_find(struct insn *i);    /* mov */
op_fn *op_cvt_find(struct insn *i);
op_fn *op_video_find(struct insn *i);  /* vadd4 … and dp4a, dp2a */
op_fn *op_mma_find(struct insn *i);    /* mma, movmatrix */
op_fn *op_matrix_find(struct insn *i); /* ldmatrix, stmatrix */

#endif
