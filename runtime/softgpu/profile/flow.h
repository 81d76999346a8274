/* The loops of a piece of code, PTX or machine code: what stands in each, by pipe, and by marks that both kinds of
 * code have in common. */
#ifndef SG_PROFILE_FLOW_H
#define SG_PROFILE_FLOW_H

#include "runtime/softgpu/ptx/insn.h"

/* What a compiler neither makes nor loses: a loop of the machine code is known by them. In order of how much they
 * say. */
enum flow_mark {
    MARK_MMA,
    MARK_BULK,   /* copies and tensor copies of the copy engine */
    MARK_COPY,   /* cp.async */
    MARK_MATRIX, /* ldmatrix, stmatrix */
    MARK_BARRIER,
    MARK_MBARRIER,
    MARK_ATOMIC,
    MARK_SHUFFLE,
    MARK_LOAD, /* plain ones, from global or generic addresses */
    MARK_STORE,
    MARK_SHARED_LOAD,
    MARK_SHARED_STORE,
    MARK_SPECIAL, /* exp2, reciprocal and their like */
    MARK_COUNT,
    MARK_NONE = MARK_COUNT
};

struct flow_step {          /* one instruction */
    uint8_t pipe;           /* enum sg_pipe; SG_PIPE_COUNT: it takes an issue slot, and no pipe that the model knows */
    uint8_t mark;           /* enum flow_mark */
    bool falls;             /* the next one may follow it */
    bool filler;            /* never executed where nothing leads to it */
    uint16_t loop;          /* index in flow.loop: the innermost around it; set by flow_find_loops() */
    bool reachable, always; /* set by flow_find_loops(); always: each iteration of its loop comes through it */
};
struct flow_edge { /* a branch */
    uint32_t from, to;
};
struct flow_counts {
    uint32_t steps, pipe[SG_PIPE_COUNT], mark[MARK_COUNT];
};
struct flow_loop {   /* counts leave out what stands in loops inside it */
    uint32_t head;   /* its first step, in the order of execution */
    uint16_t parent; /* 0: the code outside of all loops, which is loop 0 itself: there all is `each` */
    uint16_t depth;
    struct flow_counts each, some; /* what every iteration does, and what stands behind a condition */
};
struct flow {
    struct flow_step *step;
    struct flow_edge *edge;
    struct flow_loop *loop;
    size_t steps, edges, loops, step_capacity, edge_capacity, loop_capacity;
};

void flow_add_step(struct flow *flow, struct flow_step step);
void flow_add_edge(struct flow *flow, uint32_t from, uint32_t to);
/* Natural loops: a branch backwards to a step that all ways to the branch go through. Steps that nothing leads to begin
 * at a place that is not known, such as the functions behind calls and the targets of jump tables; they are outside of
 * all loops unless they have their own. */
void flow_find_loops(struct flow *flow);
void flow_free(struct flow *flow);

#endif
