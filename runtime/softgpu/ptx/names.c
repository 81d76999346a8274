#include "names.h"

#include <string.h>

#define PTX_OP_NAME(name) #name,
static const char *const op_table[] = {PTX_OPS(PTX_OP_NAME)};

static const struct {
    const char *name;
    uint8_t size;
    bool is_float, is_signed;
} type_table[T_COUNT] = {
    [T_NONE] = {"", 0, false, false},       [T_PRED] = {"pred", 0, false, false},
    [T_B8] = {"b8", 1, false, false},       [T_B16] = {"b16", 2, false, false},
    [T_B32] = {"b32", 4, false, false},     [T_B64] = {"b64", 8, false, false},
    [T_B128] = {"b128", 16, false, false},  [T_U8] = {"u8", 1, false, false},
    [T_U16] = {"u16", 2, false, false},     [T_U32] = {"u32", 4, false, false},
    [T_U64] = {"u64", 8, false, false},     [T_S8] = {"s8", 1, false, true},
    [T_S16] = {"s16", 2, false, true},      [T_S32] = {"s32", 4, false, true},
    [T_S64] = {"s64", 8, false, true},      [T_F16] = {"f16", 2, true, true},
    [T_F16X2] = {"f16x2", 4, true, true},   [T_BF16] = {"bf16", 2, true, true},
    [T_BF16X2] = {"bf16x2", 4, true, true}, [T_TF32] = {"tf32", 4, true, true},
    [T_F32] = {"f32", 4, true, true},       [T_F64] = {"f64", 8, true, true},
    [T_U16X2] = {"u16x2", 4, false, false}, [T_S16X2] = {"s16x2", 4, false, true},
    [T_F32X2] = {"f32x2", 8, true, true},   [T_U4] = {"u4", 4, false, false},
    [T_S4] = {"s4", 4, false, true},        [T_B1] = {"b1", 4, false, false},
    [T_E4M3] = {"e4m3", 1, true, true},     [T_E5M2] = {"e5m2", 1, true, true},
    [T_E4M3X2] = {"e4m3x2", 2, true, true}, [T_E5M2X2] = {"e5m2x2", 2, true, true},
};

static const struct {
    const char *name;
    enum ptx_special number;
} special_table[] = {
    {"%tid.x", SR_TID_X},
    {"%tid.y", SR_TID_Y},
    {"%tid.z", SR_TID_Z},
    {"%tid.w", SR_TID_W},
    {"%ntid.x", SR_NTID_X},
    {"%ntid.y", SR_NTID_Y},
    {"%ntid.z", SR_NTID_Z},
    {"%ctaid.x", SR_CTAID_X},
    {"%ctaid.y", SR_CTAID_Y},
    {"%ctaid.z", SR_CTAID_Z},
    {"%nctaid.x", SR_NCTAID_X},
    {"%nctaid.y", SR_NCTAID_Y},
    {"%nctaid.z", SR_NCTAID_Z},
    {"%laneid", SR_LANEID},
    {"%warpid", SR_WARPID},
    {"%nwarpid", SR_NWARPID},
    {"%smid", SR_SMID},
    {"%nsmid", SR_NSMID},
    {"%gridid", SR_GRIDID},
    {"%lanemask_eq", SR_LANEMASK_EQ},
    {"%lanemask_le", SR_LANEMASK_LE},
    {"%lanemask_lt", SR_LANEMASK_LT},
    {"%lanemask_ge", SR_LANEMASK_GE},
    {"%lanemask_gt", SR_LANEMASK_GT},
    {"%clock", SR_CLOCK},
    {"%clock_hi", SR_CLOCK_HI},
    {"%clock64", SR_CLOCK64},
    {"%globaltimer", SR_GLOBALTIMER},
    {"%globaltimer_lo", SR_GLOBALTIMER_LO},
    {"%globaltimer_hi", SR_GLOBALTIMER_HI},
    {"%dynamic_smem_size", SR_DYNAMIC_SMEM_SIZE},
    {"%total_smem_size", SR_TOTAL_SMEM_SIZE},
    {"%aggr_smem_size", SR_AGGR_SMEM_SIZE},
    {"%reserved_smem_offset_begin", SR_RESERVED_SMEM_OFFSET_BEGIN},
    {"%clusterid.x", SR_CLUSTERID_X},
    {"%clusterid.y", SR_CLUSTERID_Y},
    {"%clusterid.z", SR_CLUSTERID_Z},
    {"%nclusterid.x", SR_NCLUSTERID_X},
    {"%nclusterid.y", SR_NCLUSTERID_Y},
    {"%nclusterid.z", SR_NCLUSTERID_Z},
    {"%cluster_ctaid.x", SR_CLUSTER_CTAID_X},
    {"%cluster_ctaid.y", SR_CLUSTER_CTAID_Y},
    {"%cluster_ctaid.z", SR_CLUSTER_CTAID_Z},
    {"%cluster_nctaid.x", SR_CLUSTER_NCTAID_X},
    {"%cluster_nctaid.y", SR_CLUSTER_NCTAID_Y},
    {"%cluster_nctaid.z", SR_CLUSTER_NCTAID_Z},
    {"%cluster_ctarank", SR_CLUSTER_CTARANK},
    {"%cluster_nctarank", SR_CLUSTER_NCTARANK},
    {"%is_explicit_cluster", SR_IS_EXPLICIT_CLUSTER},
};

static const struct {
    const char *name;
    enum modifier_kind kind;
    uint32_t value;
} modifier_table[] = {
    {"rn", MOD_ROUND, RND_RN},
    {"rz", MOD_ROUND, RND_RZ},
    {"rm", MOD_ROUND, RND_RM},
    {"rp", MOD_ROUND, RND_RP},
    {"rna", MOD_ROUND, RND_RNA},
    {"rs", MOD_ROUND, RND_RS},
    {"rni", MOD_ROUND, RND_RNI},
    {"rzi", MOD_ROUND, RND_RZI},
    {"rmi", MOD_ROUND, RND_RMI},
    {"rpi", MOD_ROUND, RND_RPI},
    {"lt", MOD_COMPARE, CMP_LT},
    {"le", MOD_COMPARE, CMP_LE},
    {"gt", MOD_COMPARE, CMP_GT},
    {"ge", MOD_COMPARE, CMP_GE},
    {"eq", MOD_COMPARE, CMP_EQ},
    {"ne", MOD_COMPARE, CMP_NE},
    {"ls", MOD_COMPARE, CMP_LS},
    {"hs", MOD_COMPARE, CMP_HS},
    {"equ", MOD_COMPARE, CMP_EQU},
    {"neu", MOD_COMPARE, CMP_NEU},
    {"ltu", MOD_COMPARE, CMP_LTU},
    {"leu", MOD_COMPARE, CMP_LEU},
    {"gtu", MOD_COMPARE, CMP_GTU},
    {"geu", MOD_COMPARE, CMP_GEU},
    {"num", MOD_COMPARE, CMP_NUM},
    {"nan", MOD_COMPARE, CMP_NAN},
    {"add", MOD_SUB, SUB_ADD},
    {"min", MOD_SUB, SUB_MIN},
    {"max", MOD_SUB, SUB_MAX},
    {"inc", MOD_SUB, SUB_INC},
    {"dec", MOD_SUB, SUB_DEC},
    {"and", MOD_SUB, SUB_AND},
    {"or", MOD_SUB, SUB_OR},
    {"xor", MOD_SUB, SUB_XOR},
    {"exch", MOD_SUB, SUB_EXCH},
    {"cas", MOD_SUB, SUB_CAS},
    {"popc", MOD_SUB, SUB_POPC},
    {"all", MOD_SUB, SUB_ALL},
    {"any", MOD_SUB, SUB_ANY},
    {"ballot", MOD_SUB, SUB_BALLOT},
    {"up", MOD_SUB, SUB_UP},
    {"down", MOD_SUB, SUB_DOWN},
    {"bfly", MOD_SUB, SUB_BFLY},
    {"idx", MOD_SUB, SUB_IDX},
    {"arrive", MOD_SUB, SUB_ARRIVE},
    {"red", MOD_SUB, SUB_RED},
    {"warp", MOD_SUB, SUB_WARP},
    {"proxy", MOD_SUB, SUB_PROXY},
    {"async", MOD_SUB, SUB_ASYNC},
    {"commit_group", MOD_SUB, SUB_COMMIT_GROUP},
    {"wait_group", MOD_SUB, SUB_WAIT_GROUP},
    {"wait_all", MOD_SUB, SUB_WAIT_ALL},
    {"mbarrier", MOD_SUB, SUB_MBARRIER},
    {"mma_async", MOD_SUB, SUB_MMA},
    {"complete_tx", MOD_SUB, SUB_COMPLETE_TX},
    {"arrive_drop", MOD_SUB, SUB_ARRIVE_DROP},
    {"tensor", MOD_SUB, SUB_TENSOR},
    {"fractional", MOD_SUB, SUB_FRACTIONAL},
    {"range", MOD_SUB, SUB_RANGE},
    {"init", MOD_SUB, SUB_INIT},
    {"inval", MOD_SUB, SUB_INVAL},
    {"test_wait", MOD_SUB, SUB_TEST_WAIT},
    {"try_wait", MOD_SUB, SUB_TRY_WAIT},
    {"expect_tx", MOD_SUB, SUB_EXPECT_TX},
    {"wait", MOD_SUB, SUB_WAIT},
    {"launch_dependents", MOD_SUB, SUB_LAUNCH_DEPENDENTS},
    {"mbarrier_init", MOD_SUB, SUB_MBARRIER_INIT},
    {"mma", MOD_SUB, SUB_MMA},
    {"fence", MOD_SUB, SUB_FENCE},
    {"finite", MOD_SUB, SUB_FINITE},
    {"infinite", MOD_SUB, SUB_INFINITE},
    {"number", MOD_SUB, SUB_NUMBER},
    {"notanumber", MOD_SUB, SUB_NOTANUMBER},
    {"normal", MOD_SUB, SUB_NORMAL},
    {"subnormal", MOD_SUB, SUB_SUBNORMAL},
    {"f4e", MOD_SUB, SUB_F4E},
    {"b4e", MOD_SUB, SUB_B4E},
    {"rc8", MOD_SUB, SUB_RC8},
    {"ecl", MOD_SUB, SUB_ECL},
    {"ecr", MOD_SUB, SUB_ECR},
    {"rc16", MOD_SUB, SUB_RC16},
    {"global", MOD_SPACE, SPACE_GLOBAL},
    {"shared", MOD_SPACE, SPACE_SHARED},
    {"shared::cta", MOD_SPACE, SPACE_SHARED},
    {"shared::cluster", MOD_SPACE, SPACE_OF_CLUSTER},
    {"local", MOD_SPACE, SPACE_LOCAL},
    {"param", MOD_SPACE, SPACE_PARAM},
    {"param::entry", MOD_SPACE, SPACE_PARAM},
    {"param::func", MOD_SPACE, SPACE_PARAM},
    {"const", MOD_SPACE, SPACE_CONST},
    {"ftz", MOD_FLAG, 0},
    {"sat", MOD_FLAG, 1},
    {"satfinite", MOD_FLAG, 2},
    {"relu", MOD_FLAG, 3},
    {"approx", MOD_FLAG, 4},
    {"full", MOD_FLAG, 5},
    {"wide", MOD_FLAG, 6},
    {"hi", MOD_FLAG, 7},
    {"lo", MOD_FLAG, 8},
    {"cc", MOD_FLAG, 9},
    {"uni", MOD_FLAG, 10},
    {"NaN", MOD_FLAG, 11},
    {"xorsign", MOD_FLAG, 12},
    {"abs", MOD_FLAG, 13},
    {"trans", MOD_FLAG, 14},
    {"sync", MOD_FLAG, 15},
    {"aligned", MOD_FLAG, 16},
    {"l", MOD_FLAG, 17},
    {"r", MOD_FLAG, 18},
    {"clamp", MOD_FLAG, 19},
    {"wrap", MOD_FLAG, 20},
    {"shiftamt", MOD_FLAG, 21},
    {"noftz", MOD_FLAG, 22},
    {"to", MOD_FLAG, 23},
    {"volatile", MOD_FLAG, 24},
    {"relaxed", MOD_FLAG, 25},
    {"mmio", MOD_FLAG, 25},
    {"acquire", MOD_FLAG, 41},
    {"release", MOD_FLAG, 42},
    {"acq_rel", MOD_FLAG, 41},
    {"sc", MOD_FLAG, 41},
    {"nc", MOD_FLAG, 26},
    {"oob", MOD_FLAG, 29},
    {"sp", MOD_FLAG, 30},
    {"noinc", MOD_FLAG, 31},
    {"cluster", MOD_FLAG, 32},
    {"row", MOD_FLAG, 33},
    {"col", MOD_FLAG, 34},
    {"po", MOD_FLAG, 38},
    {"shr7", MOD_FLAG, 39},
    {"shr15", MOD_FLAG, 40},
    {"parity", MOD_FLAG, 43},
    {"bulk", MOD_FLAG, 44},
    {"tensormap", MOD_FLAG, 45},
    {"read", MOD_FLAG, 46},
    {"multicast::cluster", MOD_FLAG, 48},
    {"v2", MOD_VEC, 2},
    {"v4", MOD_VEC, 4},
    {"v8", MOD_VEC, 8},
    {"1d", MOD_NUM, 1}, /* of a tensor */
    {"2d", MOD_NUM, 2},
    {"3d", MOD_NUM, 3},
    {"4d", MOD_NUM, 4},
    {"5d", MOD_NUM, 5},
    {"x1", MOD_NUM, 1},
    {"x2", MOD_NUM, 2},
    {"x4", MOD_NUM, 4},
    {"mbarrier::complete_tx::bytes", MOD_IGNORE, 0}, /* the only completion of copies into shared memory, */
    {"bulk_group", MOD_IGNORE, 0},                   /* and of those out of it */
    {"tile", MOD_IGNORE, 0},                         /* the mode of tensor copies, and the default */
    {"weak", MOD_IGNORE, 0},
    {"cta", MOD_IGNORE, 0},
    {"gpu", MOD_IGNORE, 0},
    {"gl", MOD_IGNORE, 0},
    {"sys", MOD_IGNORE, 0},
    {"ca", MOD_IGNORE, 0},
    {"cg", MOD_IGNORE, 0},
    {"cs", MOD_IGNORE, 0},
    {"lu", MOD_IGNORE, 0},
    {"cv", MOD_IGNORE, 0},
    {"wb", MOD_IGNORE, 0},
    {"wt", MOD_IGNORE, 0},
    {"alias", MOD_IGNORE, 0},
    {"unified", MOD_IGNORE, 0},
};

unsigned type_size(enum ptx_type type) {
    return type_table[type].size;
}

bool type_is_float(enum ptx_type type) {
    return type_table[type].is_float;
}

bool type_is_signed(enum ptx_type type) {
    return type_table[type].is_signed;
}

const char *type_name(enum ptx_type type) {
    return type_table[type].name;
}

const char *op_name(enum ptx_op op) {
    return op_table[op];
}

static bool same(const char *name, const char *text, size_t length) {
    return strncmp(name, text, length) == 0 && name[length] == '\0';
}

enum ptx_op op_find(const char *text, size_t length) {
    int op = 0;
    while (op < OP_COUNT && !same(op_table[op], text, length))
        op++;
    return (enum ptx_op)op;
}

enum ptx_type type_find(const char *text, size_t length) {
    for (int t = T_PRED; t < T_COUNT; t++)
        if (same(type_table[t].name, text, length))
            return (enum ptx_type)t;
    return T_NONE;
}

enum ptx_special special_find(const char *text, size_t length) {
    for (size_t k = 0; k < sizeof special_table / sizeof *special_table; k++)
        if (same(special_table[k].name, text, length))
            return special_table[k].number;
    return SR_NONE;
}

static bool starts(const char *text, size_t length, const char *prefix) {
    return length >= strlen(prefix) && memcmp(text, prefix, strlen(prefix)) == 0;
}

/* "m16n8k32", "m8n8" */
static bool read_shape(const char *text, size_t length, uint32_t *value) {
    const char letters[] = "mnk";
    size_t at = 0;
    unsigned dims = 0;
    for (*value = 0; dims < 3 && at < length && text[at] == letters[dims]; dims++) {
        unsigned number = 0;
        for (at++; at < length && text[at] >= '0' && text[at] <= '9'; at++)
            number = number * 10 + (unsigned)(text[at] - '0');
        if (number == 0 || number > 256)
            return false;
        *value |= number << (10 * dims);
    }
    return dims >= 2 && at == length;
}

/* The words that mean something else in one instruction than in another. */
static bool find_ambiguous(enum ptx_op op, const char *text, size_t length, struct modifier *found) {
    bool compares = op == OP_setp || op == OP_set || op == OP_vset || op == OP_vset2 || op == OP_vset4;
    bool barrier = op == OP_bar || op == OP_barrier;
    if (compares && (same("lo", text, length) || same("hi", text, length)))
        *found = (struct modifier){MOD_COMPARE, text[0] == 'l' ? CMP_LO : CMP_HI};
    else if (barrier && same("sync", text, length))
        *found = (struct modifier){MOD_SUB, SUB_SYNC};
    else if ((op == OP_vote || op == OP_match) && same("uni", text, length))
        *found = (struct modifier){MOD_SUB, SUB_UNI};
    else if (op == OP_cp && same("cg", text, length))
        *found = (struct modifier){MOD_FLAG, 28};
    else
        return false;
    return true;
}

struct modifier modifier_find(enum ptx_op op, const char *text, size_t length) {
    struct modifier found = {MOD_UNKNOWN, 0};
    if (find_ambiguous(op, text, length, &found))
        return found;
    enum ptx_type type = type_find(text, length);
    if (type != T_NONE)
        return (struct modifier){MOD_TYPE, type};
    for (size_t k = 0; k < sizeof modifier_table / sizeof *modifier_table; k++)
        if (same(modifier_table[k].name, text, length))
            return (struct modifier){modifier_table[k].kind, modifier_table[k].value};
    if (same("L2::cache_hint", text, length))
        return (struct modifier){MOD_FLAG, 27};
    if (starts(text, length, "L1") || starts(text, length, "L2"))
        return (struct modifier){MOD_IGNORE, 0};
    if (read_shape(text, length, &found.value))
        found.kind = MOD_SHAPE;
    return found;
}
