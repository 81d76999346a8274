/* Branches, exits and calls. */
#include "parts.h"
#include "runtime/base/array.h"

#include <string.h>

void flow_bra(struct warp *w, const struct insn *i) {
    split_move(w, w->exec, (uint32_t)i->src[0].imm, w->own->split[w->own->running].stack);
}

void flow_brx(struct warp *w, const struct insn *i) {
    const uint32_t *index = src_lanes(w, &i->src[0]);
    const struct sg_module *m = run_of(w)->module;
    uint32_t stack = w->own->split[w->own->running].stack;
    for (uint32_t rest = w->exec; rest;) {
        int lane = __builtin_ctz(rest);
        uint32_t same = 0;
        for (int k = lane; k < LANES; k++)
            same |= (uint32_t)(index[k] == index[lane]) << k;
        same &= rest;
        rest &= ~same;
        if (index[lane] >= i->aux[1]) {
            warp_fault(w, i, lane, SG_FAULT_OUT_OF_BOUNDS, "index %u of %u branch targets", index[lane], i->aux[1]);
            return;
        }
        split_move(w, same, m->targets[i->aux[0] + index[lane]], stack);
    }
}

void flow_exit(struct warp *w, const struct insn *i) {
    (void)i;
    w->live &= ~w->exec;
    w->active &= ~w->exec;
    w->cta->live_threads -= (uint32_t)__builtin_popcount(w->exec);
    w->event = true;
    cluster_exit(w, w->exec);
    sync_exit(w->cta);
}

void flow_trap(struct warp *w, const struct insn *i) {
    warp_fault(w, i, __builtin_ctz(w->exec), SG_FAULT_TRAP, "the kernel stopped itself");
}

void flow_lacking(struct warp *w, const struct insn *i) {
    warp_fault(w, i, -1, SG_FAULT_LACKING, "the software device does not have this instruction: %s",
               run_of(w)->module->lack[i->aux[0]].why);
}

/* The number of this chain of callers; equal chains share one. */
static uint32_t push_node(struct warp *w, uint32_t return_pc, uint32_t function) {
    struct warp_private *own = w->own;
    uint32_t parent = own->split[own->running].stack;
    for (uint32_t k = own->node[parent].called; k; k = own->node[k].next)
        if (own->node[k].return_pc == return_pc && own->node[k].function == function)
            return k;
    array_grow(&own->node, &own->node_capacity, own->nodes, sizeof *own->node);
    struct call_node *above = &own->node[parent];
    own->node[own->nodes] = (struct call_node){parent, above->depth + 1, return_pc, function, 0, above->called};
    return above->called = (uint32_t)own->nodes++;
}

static uint8_t *local_bytes(struct warp *w, int lane, uint64_t offset) {
    return w->own->local + (size_t)lane * w->cta->local_stride + offset;
}

/* Copies .param variables between the caller's list and the callee's own places. */
static void copy_list(struct warp *w, const struct operand *list, const struct sg_function *f, uint32_t first,
                      bool to_callee) {
    for (uint32_t k = 0; k < list->count; k++) {
        uint64_t theirs = f->local_base + f->param_offset[first + k];
        uint64_t mine = *(const uint64_t *)src_lanes(w, &list->vec[k]);
        uint32_t size = f->param_size[first + k];
        if (size > (uint32_t)list->vec[k].imm)
            size = (uint32_t)list->vec[k].imm;
        for (uint32_t rest = w->exec; rest; rest &= rest - 1) {
            int lane = __builtin_ctz(rest);
            memcpy(local_bytes(w, lane, to_callee ? theirs : mine), local_bytes(w, lane, to_callee ? mine : theirs),
                   size);
            local_copy_marks(w, lane, to_callee ? theirs : mine, to_callee ? mine : theirs, size);
        }
    }
}

static void call_function(struct warp *w, const struct insn *i, uint32_t index) {
    const struct sg_module *m = run_of(w)->module;
    const struct sg_function *f = index < m->functions ? m->function[index] : NULL;
    if (f && !f->defined) {
        call_extern(w, i, f->name);
        return;
    }
    if (!f || f->entry || i->dst[0].count != f->returns || i->src[1].count != f->params - f->returns) {
        warp_fault(w, i, -1, SG_FAULT_UNSUPPORTED, "a call of something that is not a function with these parameters");
        return;
    }
    const struct warp_private *own = w->own;
    uint32_t stack = own->split[own->running].stack;
    for (uint32_t k = stack; k; k = own->node[k].parent)
        if (own->node[k].function == index) {
            warp_fault(w, i, -1, SG_FAULT_UNSUPPORTED, "a recursive call of %s", f->name);
            return;
        }
    copy_list(w, &i->src[1], f, f->returns, true);
    split_move(w, w->exec, f->first, push_node(w, w->pc, index));
}

void flow_call(struct warp *w, const struct insn *i) {
    if (i->src[0].kind == O_IMM) {
        call_function(w, i, (uint32_t)i->src[0].imm);
        return;
    }
    const uint64_t *target = src_lanes(w, &i->src[0]);
    uint32_t all = w->exec;
    for (uint32_t rest = all; rest && !run_of(w)->stop;) {
        int lane = __builtin_ctz(rest);
        w->exec = 0;
        for (int k = lane; k < LANES; k++)
            w->exec |= (uint32_t)(target[k] == target[lane]) << k;
        w->exec &= rest;
        rest &= ~w->exec;
        call_function(w, i, (uint32_t)(target[lane] / 16 - 1));
    }
}

void flow_ret(struct warp *w, const struct insn *i) {
    const struct warp_private *own = w->own;
    uint32_t stack = own->split[own->running].stack;
    if (stack == 0) {
        flow_exit(w, i);
        return;
    }
    const struct call_node node = own->node[stack];
    const struct sg_module *m = run_of(w)->module;
    copy_list(w, &m->code[node.return_pc - 1].dst[0], m->function[node.function], 0, false);
    split_move(w, w->exec, node.return_pc, node.parent);
}
