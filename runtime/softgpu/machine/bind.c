/* Which handler executes an instruction that is not arithmetic, and whether all its modifiers are understood. */
#include "parts.h"
#include "runtime/softgpu/memory/tensor_map.h"
#include "runtime/softgpu/op/op.h"

#include <stdio.h>

static bool refuse(char *error, size_t size, const char *why) {
    snprintf(error, size, "%s", why);
    return false;
}

static bool only_flags(const struct insn *i, uint64_t allowed) {
    return (i->flags & ~allowed) == 0;
}

_Static_assert(SUB_XOR - SUB_ADD == 7 && SUB_CAS - SUB_XOR == 2 && SUB_BALLOT - SUB_ALL == 3 && SUB_IDX - SUB_UP == 3,
               "add to xor and cas, all to ballot, and up to idx are ranges below");

#define F_ORDER (F_VOLATILE | F_STRONG | F_ACQUIRE | F_RELEASE | F_CLUSTER | F_REMOTE)

static bool bind_access(struct insn *i, char *error, size_t size) {
    unsigned element = type_size((enum ptx_type)i->type[0]);
    if (i->types != 1 || element == 0 || element * i->vec > 32 || !only_flags(i, F_ORDER | F_NONCOHERENT | F_POLICY))
        return refuse(error, size, "unknown form of a load or store");
    if (i->srcs != (i->op == OP_st ? 2 : 1) + ((i->flags & F_POLICY) != 0))
        return refuse(error, size, "a load or store with the wrong operands");
    i->element = (uint8_t)element;
    i->bytes = (uint8_t)(element * i->vec);
    bool fixed = i->space == SPACE_PARAM && i->aux[0] == PARAM_FIXED;
    i->run = i->op == OP_st ? mem_store : fixed ? mem_load_param : mem_load;
    return true;
}

static bool bind_atomic(struct insn *i, char *error, size_t size) {
    enum ptx_type type = (enum ptx_type)i->type[0];
    unsigned bytes = type_size(type);
    bool is_float = type_is_float(type), bits = i->sub == SUB_EXCH || i->sub == SUB_CAS;
    bool known = is_float ? i->sub == SUB_ADD || ((i->sub == SUB_MIN || i->sub == SUB_MAX) && type != T_F64)
                          : i->sub >= SUB_ADD && i->sub <= SUB_CAS && (bytes >= 4 || bits);
    bool operands =
        i->srcs == (i->sub == SUB_CAS ? 3 : 2) + ((i->flags & F_POLICY) != 0) && i->src[0].kind == O_ADDRESS;
    if (!known || !operands || (i->sub == SUB_CAS && i->vec > 1) || i->types != 1 || bytes < 2 || bytes > 8 ||
        bytes * i->vec > 16 || !only_flags(i, F_ORDER | F_NOFTZ | F_POLICY | F_FTZ))
        return refuse(error, size, "unknown atomic operation");
    if (i->space != SPACE_GENERIC && i->space != SPACE_GLOBAL && i->space != SPACE_SHARED)
        return refuse(error, size, "an atomic operation on this state space");
    i->element = (uint8_t)bytes;
    i->bytes = (uint8_t)(bytes * i->vec);
    i->run = mem_atomic;
    return true;
}

static bool is_corner(const struct insn *i, const struct operand *o) { /* coordinates of a tensor */
    return o->kind == O_VEC && i->num <= TENSOR_MAX_RANK && o->count == i->num;
}

/* cp.async.bulk.prefetch: [source], bytes, or [tensor map, {coordinates}] */
static bool bind_bulk_prefetch(struct insn *i, char *error, size_t size) {
    const bool tensor = bulk_is_tensor(i), policy = (i->flags & F_POLICY) != 0;
    i->run = bulk_prefetch_op;
    return (i->space == SPACE_GLOBAL && i->space2 == 0 && i->boolop == (tensor ? SUB_TENSOR : SUB_NONE) &&
            i->types == 0 && i->srcs == 2 + policy && i->src[0].kind == O_ADDRESS &&
            (tensor ? is_corner(i, &i->src[1]) : i->src[1].kind != O_ADDRESS && i->src[1].kind != O_VEC) &&
            only_flags(i, F_BULK | F_PREFETCH | F_POLICY)) ||
           refuse(error, size, "unknown form of a bulk prefetch");
}

/* Of a tensor the map knows the type. */
static bool is_reduction(const struct insn *i, bool to_global) {
    const struct reduction r = {i->boolop, bulk_is_tensor(i) ? T_U32 : i->type[0]};
    const bool bits = i->boolop == SUB_AND || i->boolop == SUB_OR || i->boolop == SUB_XOR;
    const bool half = i->boolop == SUB_ADD && (r.type == T_F16 || r.type == T_BF16);
    if (bulk_is_tensor(i))
        return to_global && i->types == 0 && (bits || reduction_exists(r, true)) && !(i->flags & F_NOFTZ);
    return i->types == 1 && reduction_exists(r, to_global) && half == ((i->flags & F_NOFTZ) != 0);
}

/* Bulk copies and reductions; a tensor's coordinates are an operand of their own, which comes before [source] in a
 * store. */
static bool bind_bulk(struct insn *i, char *error, size_t size) {
    bool tensor = bulk_is_tensor(i), policy = (i->flags & F_POLICY) != 0, many = (i->flags & F_MULTICAST) != 0;
    bool stores = i->space == SPACE_GLOBAL && i->space2 == SPACE_SHARED, loads = i->space2 == SPACE_GLOBAL;
    bool reduces = (i->flags & F_REDUCE) != 0;
    if (i->flags & F_PREFETCH)
        return bind_bulk_prefetch(i, error, size);
    if (i->boolop == SUB_COMMIT_GROUP || i->boolop == SUB_WAIT_GROUP) {
        bool commit = i->boolop == SUB_COMMIT_GROUP;
        i->run = commit ? bulk_store_commit : bulk_store_wait;
        return (only_flags(i, F_BULK | (commit ? 0 : F_READ)) && (commit || i->src[0].kind == O_IMM)) ||
               refuse(error, size, "cp.async.bulk.wait_group needs a number");
    }
    const struct operand *corner = &i->src[stores ? 1 : 2], *last = &i->src[stores && !tensor ? 1 : stores ? 2 : 3];
    i->run = stores ? bulk_store_op : tensor ? bulk_tensor_op : bulk_copy_op;
    bool operands = i->srcs == (stores ? 3 : 4) + many + policy && i->src[0].kind == O_ADDRESS &&
                    (stores || i->src[1].kind == O_ADDRESS) && last->kind == O_ADDRESS &&
                    (!tensor || is_corner(i, corner));
    bool between = i->space == SPACE_SHARED && i->space2 == SPACE_SHARED && (i->flags & F_REMOTE) && !many && !tensor;
    bool known = (reduces ? is_reduction(i, stores) && (stores || between)
                          : i->boolop == (tensor ? SUB_TENSOR : SUB_NONE) && i->types == 0) &&
                 (stores || (i->space == SPACE_SHARED && loads) || between) && (!many || (i->flags & F_REMOTE));
    uint64_t allowed = F_BULK | F_POLICY | (reduces ? F_REDUCE | F_NOFTZ : 0) | (stores ? 0 : F_REMOTE | F_MULTICAST);
    return (known && operands && only_flags(i, allowed)) ||
           refuse(error, size,
                  reduces ? "unknown form of a bulk reduction; those from shared memory to global memory, and to the "
                            "shared memory of a CTA of the cluster, are known"
                          : "unknown form of a bulk copy; those from global to shared memory with an mbarrier, between "
                            "shared memories, and from shared to global memory are known");
}

static bool bind_mbarrier(struct insn *i, char *error, size_t size) {
    static op_fn *const run[] = {
        [SUB_INIT] = mbarrier_init_op,          [SUB_INVAL] = mbarrier_inval_op,  [SUB_ARRIVE] = mbarrier_arrive_op,
        [SUB_ARRIVE_DROP] = mbarrier_arrive_op, [SUB_EXPECT_TX] = mbarrier_tx_op, [SUB_COMPLETE_TX] = mbarrier_tx_op,
        [SUB_TEST_WAIT] = mbarrier_wait_op,     [SUB_TRY_WAIT] = mbarrier_wait_op};
    i->run = i->sub < sizeof run / sizeof *run ? run[i->sub] : NULL;
    bool waits = i->run == mbarrier_wait_op;
    bool own = waits || i->sub == SUB_INIT || i->sub == SUB_INVAL, state = i->dsts && i->dst[0].kind != O_SINK;
    if ((i->flags & F_REMOTE) && (own || (!waits && state)))
        return refuse(error, size,
                      own ? "an mbarrier of another CTA can be arrived at only"
                          : "an arrival at an mbarrier of .shared::cluster has no state: its destination must be _");
    return (i->run && only_flags(i, F_ORDER | F_PARITY)) ||
           refuse(error, size, "unknown form of an mbarrier instruction");
}

static bool bind_copy(struct insn *i, char *error, size_t size) {
    int64_t bytes = i->src[2].imm;
    if (i->sub != SUB_ASYNC)
        return refuse(error, size, "unknown kind of copy");
    if (i->flags & F_BULK)
        return bind_bulk(i, error, size);
    if (i->boolop == SUB_ARRIVE) {
        i->run = mbarrier_arrive_async_op;
        return (i->srcs == 1 && only_flags(i, F_NOINC)) ||
               refuse(error, size, "unknown form of cp.async.mbarrier.arrive");
    }
    if (i->boolop == SUB_COMMIT_GROUP || i->boolop == SUB_WAIT_ALL || i->boolop == SUB_WAIT_GROUP) {
        i->run = i->boolop == SUB_COMMIT_GROUP ? async_commit : async_wait;
        return i->boolop != SUB_WAIT_GROUP || i->src[0].kind == O_IMM ||
               refuse(error, size, "cp.async.wait_group needs a number");
    }
    if (i->boolop)
        return refuse(error, size, "unknown form of cp.async");
    if (i->space != SPACE_SHARED || i->space2 != SPACE_GLOBAL || i->srcs < 3 || i->src[2].kind != O_IMM ||
        (bytes != 4 && bytes != 8 && bytes != 16) || (bytes != 16 && (i->flags & F_BYPASS)) ||
        i->src[0].kind != O_ADDRESS || i->src[1].kind != O_ADDRESS || !only_flags(i, F_BYPASS | F_POLICY))
        return refuse(error, size, "unknown form of cp.async");
    i->run = async_copy_issue;
    return true;
}

static bool bind_barrier(struct insn *i, char *error, size_t size) {
    if (i->flags & F_CLUSTER) {
        bool arrives = i->sub == SUB_ARRIVE;
        uint64_t orders = arrives ? F_RELEASE | F_STRONG : F_ACQUIRE;
        i->run = arrives ? cluster_arrive_op : cluster_wait_op;
        return (i->op == OP_barrier && i->srcs == 0 && (arrives || i->sub == SUB_WAIT) &&
                only_flags(i, F_CLUSTER | F_ALIGNED | orders)) ||
               refuse(error, size, "unknown form of barrier.cluster");
    }
    if (i->sub == SUB_WARP) {
        i->run = sync_warp;
        return i->srcs == 1 || refuse(error, size, "bar.warp.sync needs a member mask");
    }
    bool red = i->sub == SUB_RED;
    bool known =
        (i->sub == SUB_SYNC && i->srcs >= 1 && i->srcs <= 2) || (i->sub == SUB_ARRIVE && i->srcs == 2) ||
        (red && i->srcs >= 2 && i->srcs <= 3 && (i->boolop == SUB_POPC || i->boolop == SUB_AND || i->boolop == SUB_OR));
    if (!known || !only_flags(i, F_ALIGNED))
        return refuse(error, size, "unknown form of a barrier");
    i->run = sync_barrier;
    return true;
}

static bool bind_warp_wide(struct insn *i, char *error, size_t size) {
    bool good = only_flags(i, F_SYNC);
    switch (i->op) {
    case OP_shfl:
        good &= i->sub >= SUB_UP && i->sub <= SUB_IDX && i->srcs == ((i->flags & F_SYNC) ? 4 : 3);
        i->run = sync_shfl;
        break;
    case OP_vote:
        good &= i->sub >= SUB_ALL && i->sub <= SUB_BALLOT;
        i->run = sync_vote;
        break;
    case OP_match:
        good &= (i->sub == SUB_ANY || i->sub == SUB_ALL) && i->srcs == 2;
        i->run = sync_match;
        break;
    case OP_redux:
        good &= i->srcs == 2 && !type_is_float((enum ptx_type)i->type[0]) && i->sub >= SUB_ADD && i->sub <= SUB_XOR &&
                i->sub != SUB_INC && i->sub != SUB_DEC;
        i->run = sync_redux;
        break;
    case OP_elect:
        good &= i->srcs == 1;
        i->run = sync_elect;
        break;
    default:
        i->run = sync_activemask;
        break;
    }
    return good || refuse(error, size, "unknown form of a warp-wide instruction");
}

static bool bind_fence(struct insn *i, char *error, size_t size) {
    bool known = i->sub == SUB_NONE || i->sub == SUB_PROXY || i->sub == SUB_MBARRIER_INIT;
    i->run = sync_fence;
    return (known && only_flags(i, F_ORDER)) || refuse(error, size, "unknown fence");
}

static bool bind_address(struct insn *i, char *error, size_t size) {
    bool mapa = i->op == OP_mapa;
    bool good = i->srcs == 1 + mapa && only_flags(i, F_TO | F_REMOTE);
    if (mapa || i->op == OP_getctarank)
        good &= (i->space == SPACE_GENERIC || (i->flags & F_REMOTE)) && !(i->flags & F_TO);
    i->run = mapa ? addr_mapa : i->op == OP_cvta ? addr_cvta : i->op == OP_isspacep ? addr_isspacep : addr_getctarank;
    return good || refuse(error, size, "unknown form of an address conversion");
}

static bool bind_flow(struct insn *i, char *error, size_t size) {
    static const struct {
        uint16_t op;
        op_fn *run;
    } table[] = {{OP_bra, flow_bra}, {OP_brx, flow_brx},   {OP_exit, flow_exit}, {OP_call, flow_call},
                 {OP_ret, flow_ret}, {OP_trap, flow_trap}, {OP_brkpt, flow_trap}};
    for (size_t k = 0; k < sizeof table / sizeof *table; k++)
        if (table[k].op == i->op)
            i->run = table[k].run;
    return only_flags(i, F_UNI) || refuse(error, size, "unknown form of a branch");
}

static bool bind_move(struct insn *i, char *error, size_t size) {
    if (i->src[0].kind != O_SPECIAL)
        return op_bind(i, error, size);
    i->run = addr_special;
    return true;
}

static bool bind_registers(struct insn *i, char *error, size_t size) {
    i->run = sync_setmaxnreg;
    return (i->srcs == 1 && i->src[0].kind == O_IMM && (i->sub == SUB_INC || i->sub == SUB_DEC)) ||
           refuse(error, size, "setmaxnreg needs .inc or .dec and a number");
}

/* prefetch, prefetchu, applypriority, discard: [address]{, 128} */
static bool bind_hint(struct insn *i, char *error, size_t size) {
    const bool whole = i->op == OP_discard || i->op == OP_applypriority, map = (i->flags & F_TENSORMAP) != 0;
    const bool space = i->space == SPACE_GENERIC || (i->space == SPACE_GLOBAL && i->op != OP_prefetchu) ||
                       (i->op == OP_prefetch && i->space == (map ? SPACE_PARAM : SPACE_LOCAL));
    i->run = i->op == OP_discard ? mem_discard : mem_prefetch;
    return (space && i->types == 0 && i->srcs == 1 + whole && i->src[0].kind == O_ADDRESS &&
            (!whole || (i->src[1].kind == O_IMM && i->src[1].imm == 128)) &&
            only_flags(i, i->op == OP_prefetch ? F_TENSORMAP : 0)) ||
           refuse(error, size, "unknown form of a cache hint");
}

static bool bind_group(struct insn *i, char *error, size_t size) {
    switch (ptx_op_facts[i->op].group) {
    case GROUP_NUMBER:
    case GROUP_INT:
    case GROUP_CARRY:
    case GROUP_BITS:
    case GROUP_FLOAT:
    case GROUP_APPROX:
    case GROUP_COMPARE:
    case GROUP_CVT:
    case GROUP_VIDEO:
    case GROUP_MMA:
    case GROUP_MATRIX:
        return op_bind(i, error, size);
    case GROUP_MOVE:
        return bind_move(i, error, size);
    case GROUP_ACCESS:
        return bind_access(i, error, size);
    case GROUP_ATOMIC:
        return bind_atomic(i, error, size);
    case GROUP_COPY:
        return bind_copy(i, error, size);
    case GROUP_MBARRIER:
        return bind_mbarrier(i, error, size);
    case GROUP_FENCE:
        return bind_fence(i, error, size);
    case GROUP_ADDRESS:
        return bind_address(i, error, size);
    case GROUP_HINT:
        return bind_hint(i, error, size);
    case GROUP_POLICY:
        i->run = addr_policy;
        return i->sub == SUB_FRACTIONAL || i->sub == SUB_NONE || refuse(error, size, "unknown cache policy");
    case GROUP_BARRIER:
        return bind_barrier(i, error, size);
    case GROUP_WARP:
        return bind_warp_wide(i, error, size);
    case GROUP_FLOW:
        return bind_flow(i, error, size);
    case GROUP_PAUSE:
        i->run = sync_nothing;
        return true;
    case GROUP_WGMMA:
        return wgmma_bind(i) || refuse(error, size, "this form of wgmma is not known");
    case GROUP_REGISTERS:
        return bind_registers(i, error, size);
    case GROUP_NOBODY:
        break;
    }
    return refuse(error, size, "the software device does not execute this instruction");
}

bool machine_bind(struct insn *i, char *error, size_t error_size) {
    i->pipe = (uint8_t)op_pipe(i);
    if (!bind_group(i, error, error_size)) {
        i->pipe = SG_PIPE_BRANCH;
        i->run = flow_lacking;
        return false;
    }
    if (ptx_op_facts[i->op].exec == EXEC_TOGETHER)
        i->guarded |= GUARD_TOGETHER;
    return true;
}
