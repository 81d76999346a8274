/* The roles of operands. An instruction has a word for its destinations and one for its sources, with a role for each
 * operand:
 *
 *   0 1     a value of the first, second type           r q h   a value of 32, 64, 16 bits
 *   W       twice as wide as the first type             p       a predicate
 *   n       a number                                    a       an address in brackets
 *   V       as many values of the first type as the instruction moves
 *   F       registers of 32 bits in braces, of 64 where the first type is f64
 *   M       registers of 32 bits, in braces if they are several
 *   C       values of 32 bits in braces
 *
 * Behind a role: + a register may be wider than that, up to 64 bits; _ may stand there instead; / or the next role;
 * ? it and all that follow may be absent. */
#include "operands.h"
#include "names.h"

#include <stdio.h>

struct roles {
    const char *to, *from;
};

/* Instructions whose operands do not depend on their modifiers. */
/* clang-format off */
static const struct roles plain[OP_COUNT] = {
    [OP_abs] = {"0", "0"},
    [OP_activemask] = {"r", ""},
    [OP_add] = {"0", "0 0"},
    [OP_addc] = {"0", "0 0"},
    [OP_and] = {"0", "0 0"},
    [OP_applypriority] = {"", "a n"},
    [OP_bfe] = {"0", "0 r r"},
    [OP_bfi] = {"0", "0 0 r r"},
    [OP_bfind] = {"r", "0"},
    [OP_bmsk] = {"r", "r r"},
    [OP_brev] = {"0", "0"},
    [OP_brkpt] = {"", ""},
    [OP_clz] = {"r", "0"},
    [OP_cnot] = {"0", "0"},
    [OP_copysign] = {"0", "0 0"},
    [OP_cos] = {"0", "0"},
    [OP_cvta] = {"0", "0"},
    [OP_discard] = {"", "a n"},
    [OP_div] = {"0", "0 0"},
    [OP_dp2a] = {"r", "r r r"},
    [OP_dp4a] = {"r", "r r r"},
    [OP_elect] = {"r_ p", "r"},
    [OP_ex2] = {"0", "0"},
    [OP_exit] = {"", ""},
    [OP_fence] = {"", "a? n"},
    [OP_fma] = {"0", "0 0 0"},
    [OP_fns] = {"r", "r r r"},
    [OP_getctarank] = {"r", "0"},
    [OP_griddepcontrol] = {"", ""},
    [OP_isspacep] = {"p", "q/r"},
    [OP_ld] = {"V+", "a q?"},
    [OP_ldmatrix] = {"M", "a"},
    [OP_ldu] = {"V+", "a q?"},
    [OP_lg2] = {"0", "0"},
    [OP_mad24] = {"0", "0 0 0"},
    [OP_madc] = {"0", "0 0 0"},
    [OP_mapa] = {"0", "0 r"},
    [OP_match] = {"r p_?", "0 r"},
    [OP_max] = {"0", "0 0 0?"},
    [OP_membar] = {"", ""},
    [OP_min] = {"0", "0 0 0?"},
    [OP_mma] = {"F", "F F F"},
    [OP_movmatrix] = {"r", "r"},
    [OP_mul24] = {"0", "0 0"},
    [OP_nanosleep] = {"", "r"},
    [OP_neg] = {"0", "0"},
    [OP_not] = {"0", "0"},
    [OP_or] = {"0", "0 0"},
    [OP_pmevent] = {"", "n"},
    [OP_popc] = {"r", "0"},
    [OP_prefetch] = {"", "a"},
    [OP_prefetchu] = {"", "a"},
    [OP_prmt] = {"r", "r r r"},
    [OP_rcp] = {"0", "0"},
    [OP_redux] = {"0", "0 r"},
    [OP_rem] = {"0", "0 0"},
    [OP_ret] = {"", ""},
    [OP_rsqrt] = {"0", "0"},
    [OP_sad] = {"0", "0 0 0"},
    [OP_selp] = {"0", "0 0 p"},
    [OP_set] = {"0", "1 1 p?"},
    [OP_setmaxnreg] = {"", "n"},
    [OP_setp] = {"p_ p_?", "0 0 p?"},
    [OP_shf] = {"r", "r r r"},
    [OP_shfl] = {"r p_?", "r r r r?"},
    [OP_shl] = {"0", "0 r"},
    [OP_shr] = {"0", "0 r"},
    [OP_sin] = {"0", "0"},
    [OP_slct] = {"0", "0 0 1"},
    [OP_sqrt] = {"0", "0"},
    [OP_st] = {"", "a V+ q?"},
    [OP_stmatrix] = {"", "a M"},
    [OP_sub] = {"0", "0 0"},
    [OP_subc] = {"0", "0 0"},
    [OP_szext] = {"r", "r r"},
    [OP_tanh] = {"0", "0"},
    [OP_testp] = {"p", "0"},
    [OP_trap] = {"", ""},
    [OP_xor] = {"0", "0 0"},
};
/* clang-format on */

/* The others: the first row whose sub, second sub and flags an instruction has. SUB_NONE stands for any. */
static const struct variant {
    uint16_t op;
    uint8_t sub, boolop;
    uint64_t flags;
    struct roles roles;
} variants[] = {
    {OP_lop3, SUB_AND, 0, 0, {"r_ p", "r r r n p"}},
    {OP_lop3, SUB_OR, 0, 0, {"r_ p", "r r r n p"}},
    {OP_lop3, SUB_XOR, 0, 0, {"r_ p", "r r r n p"}},
    {OP_lop3, 0, 0, 0, {"r", "r r r n"}},
    {OP_mul, 0, 0, F_WIDE, {"W", "0 0"}},
    {OP_mul, 0, 0, 0, {"0", "0 0"}},
    {OP_mad, 0, 0, F_WIDE, {"W", "0 0 W"}},
    {OP_mad, 0, 0, 0, {"0", "0 0 0"}},
    {OP_atom, SUB_CAS, 0, 0, {"V_", "a V V q?"}},
    {OP_atom, 0, 0, 0, {"V_", "a V q?"}},
    {OP_red, 0, 0, 0, {"", "a V q?"}},
    {OP_vote, SUB_BALLOT, 0, 0, {"r", "p r?"}},
    {OP_vote, 0, 0, 0, {"p", "p r?"}},
    {OP_bar, SUB_WARP, 0, 0, {"", "r"}},
    {OP_bar, 0, 0, 0, {"", "r r?"}},
    {OP_barrier, 0, 0, F_CLUSTER, {"", ""}},
    {OP_barrier, 0, 0, 0, {"", "r r?"}},
    {OP_createpolicy, SUB_RANGE, 0, 0, {"q", "a r r"}},
    {OP_createpolicy, SUB_FRACTIONAL, 0, 0, {"q", "r?"}},
    {OP_createpolicy, 0, 0, 0, {"q", "q?"}},
    {OP_mbarrier, SUB_INIT, 0, 0, {"", "a r"}},
    {OP_mbarrier, SUB_INVAL, 0, 0, {"", "a"}},
    {OP_mbarrier, SUB_ARRIVE, SUB_EXPECT_TX, 0, {"q_", "a r"}},
    {OP_mbarrier, SUB_ARRIVE_DROP, SUB_EXPECT_TX, 0, {"q_", "a r"}},
    {OP_mbarrier, SUB_ARRIVE, 0, 0, {"q_", "a r?"}},
    {OP_mbarrier, SUB_ARRIVE_DROP, 0, 0, {"q_", "a r?"}},
    {OP_mbarrier, SUB_TEST_WAIT, 0, F_PARITY, {"p", "a r"}},
    {OP_mbarrier, SUB_TEST_WAIT, 0, 0, {"p", "a q"}},
    {OP_mbarrier, SUB_TRY_WAIT, 0, F_PARITY, {"p", "a r r?"}},
    {OP_mbarrier, SUB_TRY_WAIT, 0, 0, {"p", "a q r?"}},
    {OP_mbarrier, 0, 0, 0, {"", "a r"}}, /* expect_tx, complete_tx */
    {OP_cp, 0, SUB_COMMIT_GROUP, 0, {"", ""}},
    {OP_cp, 0, SUB_WAIT_ALL, 0, {"", ""}},
    {OP_cp, 0, SUB_WAIT_GROUP, 0, {"", "n"}},
    {OP_cp, 0, SUB_ARRIVE, 0, {"", "a"}},
    {OP_wgmma, SUB_MMA, 0, 0, {"F", "F/q q n/p n? n n n"}},
    {OP_wgmma, SUB_WAIT_GROUP, 0, 0, {"", "n"}},
    {OP_wgmma, 0, 0, 0, {"", ""}},
};

/* Bulk copies, reductions and prefetches: what stands behind the size or the mbarrier depends on two flags, and a tensor's coordinates are an
 * operand of their own behind its map. */
static struct roles roles_of_bulk(const struct insn *i) {
    const bool tensor = i->num != 0, many = (i->flags & F_MULTICAST) != 0;
    if (i->flags & F_PREFETCH)
        return tensor ? (struct roles){"", "a C q?"} : (struct roles){"", "a r q?"};
    if (i->space == SPACE_GLOBAL)
        return tensor ? (struct roles){"", "a C a q?"} : (struct roles){"", "a a r q?"};
    if (tensor)
        return many ? (struct roles){"", "a a C a h q?"} : (struct roles){"", "a a C a q?"};
    return many ? (struct roles){"", "a a r a h q?"} : (struct roles){"", "a a r a q?"};
}

/* Integers, f16, f32 and f64 may lie in a wider register; other formats and pairs may not. */
static bool may_be_wider(enum ptx_type type) {
    return !type_is_float(type) || type == T_F16 || type == T_F32 || type == T_F64;
}

static struct roles roles_of_cvt(const struct insn *i) {
    if (i->srcs == 2)
        return (struct roles){"0", "1 1"};
    return may_be_wider((enum ptx_type)i->type[0]) && may_be_wider((enum ptx_type)i->type[1])
               ? (struct roles){"0+", "1+"}
               : (struct roles){"0", "1"};
}

/* cp.async: a size or a predicate, and a policy, may stand behind the number of bytes. */
static struct roles roles_of_copy(const struct insn *i) {
    if (i->flags & F_POLICY)
        return (struct roles){"", i->srcs == 4 ? "a a n q" : "a a n r/p q"};
    return (struct roles){"", "a a n r/p?"};
}

/* bar.red: a number of threads may stand before the predicate. */
static struct roles roles_of_reduction(const struct insn *i) {
    return (struct roles){i->boolop == SUB_POPC ? "r" : "p", i->srcs == 2 ? "r p" : "r r p"};
}

static struct roles roles_of(const struct insn *i) {
    const struct roles none = {NULL, NULL};
    if (ptx_op_facts[i->op].group == GROUP_VIDEO && !plain[i->op].to)
        return (struct roles){"r", "r r r?"};
    if (i->op == OP_cvt)
        return roles_of_cvt(i);
    if (i->op == OP_cp && (i->flags & F_BULK) && i->boolop != SUB_COMMIT_GROUP && i->boolop != SUB_WAIT_GROUP)
        return roles_of_bulk(i);
    if ((i->op == OP_bar || i->op == OP_barrier) && i->sub == SUB_RED)
        return roles_of_reduction(i);
    if (plain[i->op].to)
        return plain[i->op];
    for (const struct variant *v = variants; v < variants + sizeof variants / sizeof *variants; v++)
        if (v->op == i->op && (!v->sub || v->sub == i->sub) && (!v->boolop || v->boolop == i->boolop) &&
            (i->flags & v->flags) == v->flags)
            return v->roles;
    return i->op == OP_cp ? roles_of_copy(i) : none;
}

/* The role behind the next blank; "" at the end. */
static const char *next_role(const char *role) {
    while (*role && *role != ' ')
        role++;
    return *role ? role + 1 : role;
}

static bool role_has(const char *role, char what) {
    for (; *role && *role != ' '; role++)
        if (*role == what)
            return true;
    return false;
}

/* Bytes of a lane; 0 for what is no register of values. */
static unsigned role_bytes(const struct insn *i, char role) {
    switch (role) {
    case '0':
    case 'V':
        return type_size((enum ptx_type)i->type[0]);
    case '1':
        return type_size((enum ptx_type)i->type[1]);
    case 'W':
        return 2 * type_size((enum ptx_type)i->type[0]);
    case 'F':
        return i->type[0] == T_F64 ? 8 : 4;
    case 'r':
    case 'C':
    case 'M':
        return 4;
    case 'q':
        return 8;
    case 'h':
        return 2;
    default:
        return 0;
    }
}

static bool is_predicate(const struct insn *i, char role) {
    return role == 'p' || (role == '0' && i->type[0] == T_PRED);
}

unsigned operand_width(const struct insn *i, int k, enum ptx_type *type) {
    const char *role = roles_of(i).from;
    for (int n = 0; role && n < k; n++)
        role = next_role(role);
    const char what = role && k >= 0 ? *role : '\0';
    *type = what == '0' || what == 'V' || what == 'W' ? (enum ptx_type)i->type[0]
            : what == '1'                             ? (enum ptx_type)i->type[1]
                                                      : T_B32;
    if (i->op == OP_mov) {
        *type = (enum ptx_type)i->type[0];
        return *type == T_PRED ? 0 : type_size(*type);
    }
    if (is_predicate(i, what))
        return 0;
    const unsigned bytes = role_bytes(i, what);
    return bytes == 0 ? 4 : bytes == 1 ? 2 : bytes;
}

/* ---- what stands there ---- */

static bool is_value(const struct operand *o, unsigned bytes, bool wider, bool written) {
    const unsigned least = bytes < 2 ? 2 : bytes, most = !wider ? least : bytes > 8 ? bytes : 8;
    if (o->kind != O_REG && (written || o->kind != O_IMM))
        return false;
    return (!written || o->bank == BANK_FRAME) && o->width >= least && o->width <= most;
}

/* The first element that is no such value; NULL if all are. */
static const struct operand *wrong_value(const struct operand *o, unsigned bytes, bool wider, bool written, bool sink) {
    for (unsigned k = 0; k < o->count; k++)
        if (!(sink && o->vec[k].kind == O_SINK) && !is_value(&o->vec[k], bytes, wider, written))
            return &o->vec[k];
    return NULL;
}

static bool is_braced(const struct insn *i, char role) {
    return role == 'F' || role == 'C' || (role == 'V' && i->vec > 1) || (role == 'M' && i->num > 1);
}

/* No number will do: it is written, or known by its register for longer than the instruction lasts. */
static bool must_be_register(const struct insn *i, char role, bool written) {
    return written || role == 'M' || (role == 'F' && i->op == OP_wgmma);
}

/* As above for an operand in braces that plays a role. */
static const struct operand *wrong_element(const struct insn *i, const struct operand *o, const char *role, char what,
                                           bool written) {
    return wrong_value(o, role_bytes(i, what), role_has(role, '+'), must_be_register(i, what, written),
                       i->op == OP_ld || i->op == OP_ldu);
}

static bool plays(const struct insn *i, const struct operand *o, const char *role, char what, bool written) {
    const bool wider = role_has(role, '+');
    const unsigned bytes = role_bytes(i, what);
    if (o->kind == O_SINK && role_has(role, '_'))
        return true;
    if (is_predicate(i, what))
        return o->kind == O_PRED && (!written || (o->bank == BANK_FRAME && !o->negated));
    if (what == 'n' || what == 'a')
        return o->kind == (what == 'n' ? O_IMM : O_ADDRESS);
    const bool one = what == 'M' || (what == 'V' && i->op != OP_atom && i->op != OP_red); /* {x} is x */
    if (o->kind == O_VEC && bytes && (is_braced(i, what) || one))
        return (what != 'V' || o->count == i->vec) && !wrong_element(i, o, role, what, written);
    return bytes && !is_braced(i, what) && is_value(o, bytes, wider, must_be_register(i, what, written));
}

static bool fits(const struct insn *i, const struct operand *o, const char *role, bool written) {
    for (const char *what = role; *what && *what != ' '; what++)
        if ((what == role || what[-1] == '/') && plays(i, o, role, *what, written))
            return true;
    return false;
}

/* ---- sentences ---- */

static const char *describe(const struct operand *o, char *text, size_t size) {
    static const char *const what[] = {
        [O_NONE] = "nothing",  [O_PRED] = "a predicate",           [O_SINK] = "_",     [O_ADDRESS] = "an address",
        [O_LABEL] = "a label", [O_SPECIAL] = "a special register", [O_LIST] = "a list"};
    if (o->kind == O_REG || o->kind == O_IMM)
        snprintf(text, size, "a %s of %u bits", o->kind == O_REG ? "register" : "number", 8u * o->width);
    else if (o->kind == O_VEC)
        snprintf(text, size, "a vector of %u", o->count);
    else
        snprintf(text, size, "%s", what[o->kind]);
    return text;
}

static const char *wish(const struct insn *i, const char *role, bool written, char *text, size_t size) {
    const unsigned bits = 8 * (role_bytes(i, *role) < 2 ? 2 : role_bytes(i, *role));
    const char *more = role_has(role, '+') ? " or more" : "";
    if (is_predicate(i, *role))
        snprintf(text, size, "a predicate");
    else if (*role == 'n' || *role == 'a')
        snprintf(text, size, "%s", *role == 'n' ? "a number" : "an address in brackets");
    else if (*role == 'V' && i->vec > 1)
        snprintf(text, size, "a vector of %u registers of %u bits%s", i->vec, bits, more);
    else if (is_braced(i, *role))
        snprintf(text, size, "a vector of registers of %u bits", bits);
    else
        snprintf(text, size, "a %s of %u bits%s", written ? "register" : "value", bits, more);
    return text;
}

static bool check_list(const struct insn *i, const struct operand *o, unsigned count, const char *role, bool written,
                       char *error, size_t size) {
    const char *kind = written ? "destination" : "source";
    char have[48], want[64];
    const struct operand *bad;
    bool optional = false;
    unsigned k = 0;
    for (; *role; role = next_role(role), k++) {
        optional |= role_has(role, '?');
        if (k == count && optional)
            return true;
        if (k < count && fits(i, &o[k], role, written))
            continue;
        bad = k < count && o[k].kind == O_VEC && is_braced(i, *role) ? wrong_element(i, &o[k], role, *role, written)
                                                                     : NULL;
        snprintf(error, size, "%s %u must be %s and %s %s", kind, k + 1, wish(i, role, written, want, sizeof want),
                 bad ? "has" : "is",
                 bad         ? describe(bad, have, sizeof have)
                 : k < count ? describe(&o[k], have, sizeof have)
                             : "missing");
        return false;
    }
    if (k < count)
        snprintf(error, size, "there are %u %ss and %s takes %u", count, kind, op_name((enum ptx_op)i->op), k);
    return k >= count;
}

/* A register of 64 bits is read by a mov of 64 bits, all others by one of at most 32; %gridid has had both widths. */
static bool check_special(const struct insn *i, char *error, size_t size) {
    const enum ptx_special number = (enum ptx_special)i->src[0].imm;
    const unsigned bytes = type_size((enum ptx_type)i->type[0]);
    if (number == SR_GRIDID ? bytes <= 8 : special_is_wide(number) ? bytes == 8 : bytes <= 4)
        return true;
    snprintf(error, size, "a special register of %d bits cannot be read as %s", special_is_wide(number) ? 64 : 32,
             type_name((enum ptx_type)i->type[0]));
    return false;
}

/* mov: between registers of the type's width, or one and the registers of its parts. */
static bool check_move(const struct insn *i, char *error, size_t size) {
    const struct operand *to = &i->dst[0], *from = &i->src[0];
    const unsigned bytes = type_size((enum ptx_type)i->type[0]);
    const struct operand *parts = from->kind == O_VEC ? from : to->kind == O_VEC ? to : NULL;
    if (i->dsts != 1 || i->srcs != 1) {
        snprintf(error, size, "mov takes one destination and one source");
        return false;
    }
    if (parts) {
        const bool written = parts == to;
        if (parts->count < 2 || bytes % parts->count || bytes / parts->count > 8 || from->kind == to->kind ||
            wrong_value(parts, bytes / parts->count, false, written, written)) {
            snprintf(error, size, "%u such parts do not make %u bits", parts->count, 8 * bytes);
            return false;
        }
    }
    if (to != parts && !check_list(i, to, 1, "0", true, error, size))
        return false;
    if (from == parts)
        return true;
    return from->kind == O_SPECIAL ? check_special(i, error, size) : check_list(i, from, 1, "0", false, error, size);
}

bool operands_fit(const struct insn *i, char *error, size_t size) {
    if (i->op == OP_mov)
        return check_move(i, error, size);
    if (i->op == OP_bra || i->op == OP_call) /* the parser makes theirs */
        return true;
    if (i->op == OP_brx)
        return check_list(i, i->src, i->srcs, "r", false, error, size);
    const struct roles roles = roles_of(i);
    if (!roles.to) {
        snprintf(error, size, "nobody knows what the operands of %s are", op_name((enum ptx_op)i->op));
        return false;
    }
    return check_list(i, i->dst, i->dsts, roles.to, true, error, size) &&
           check_list(i, i->src, i->srcs, roles.from, false, error, size);
}
