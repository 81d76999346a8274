#include "names.h"

#include <string.h>

#define OP_FACTS(name, pipe, exec, group) [OP_##name] = {#name, SG_PIPE_##pipe, EXEC_##exec, GROUP_##group},
const struct ptx_op_facts ptx_op_facts[OP_COUNT] = {PTX_OPS(OP_FACTS)};

#define TYPE_FACTS(name, word, size, is_float, is_signed) [T_##name] = {word, size, is_float, is_signed},
const struct ptx_type_facts ptx_type_facts[T_COUNT] = {[T_NONE] = {"", 0, false, false}, PTX_TYPES(TYPE_FACTS)};

#define SPECIAL_ROW(name, word) [SR_##name] = (word),
static const char *const special_table[SR_COUNT] = {[SR_NONE] = "", PTX_SPECIALS(SPECIAL_ROW)};

/* The words that mean a round, comparison, sub or flag, by its number. */
enum { MOST_WORDS = 3 };
#define WORDS(name, ...) {__VA_ARGS__},
static const char *const round_words[RND_COUNT][MOST_WORDS] = {{NULL}, PTX_ROUNDS(WORDS)};
static const char *const compare_words[CMP_COUNT][MOST_WORDS] = {{NULL}, PTX_COMPARES(WORDS)};
static const char *const sub_words[SUB_COUNT][MOST_WORDS] = {{NULL}, PTX_SUBS(WORDS)};
static const char *const flag_words[FLAG_COUNT][MOST_WORDS] = {PTX_FLAGS(WORDS)};
static const struct {
    enum modifier_kind kind;
    uint32_t count;
    const char *const (*words)[MOST_WORDS];
} word_table[] = {{MOD_ROUND, RND_COUNT, round_words},
                  {MOD_COMPARE, CMP_COUNT, compare_words},
                  {MOD_SUB, SUB_COUNT, sub_words},
                  {MOD_FLAG, FLAG_COUNT, flag_words}};

_Static_assert((unsigned)SPACE_OF_CLUSTER > SPACE_REG, "not the number of a state space");
/* All other words. */
static const struct {
    const char *name;
    enum modifier_kind kind;
    uint32_t value;
} modifier_table[] = {
    {"global", MOD_SPACE, SPACE_GLOBAL},
    {"shared", MOD_SPACE, SPACE_SHARED},
    {"shared::cta", MOD_SPACE, SPACE_SHARED},
    {"shared::cluster", MOD_SPACE, SPACE_OF_CLUSTER},
    {"local", MOD_SPACE, SPACE_LOCAL},
    {"param", MOD_SPACE, SPACE_PARAM},
    {"param::entry", MOD_SPACE, SPACE_PARAM},
    {"param::func", MOD_SPACE, SPACE_PARAM},
    {"const", MOD_SPACE, SPACE_CONST},
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

static bool same(const char *name, const char *text, size_t length) {
    return strncmp(name, text, length) == 0 && name[length] == '\0';
}

enum ptx_op op_find(const char *text, size_t length) {
    int op = 0;
    while (op < OP_COUNT && !same(ptx_op_facts[op].name, text, length))
        op++;
    return (enum ptx_op)op;
}

enum ptx_type type_find(const char *text, size_t length) {
    for (int t = T_PRED; t < T_COUNT; t++)
        if (same(ptx_type_facts[t].name, text, length))
            return (enum ptx_type)t;
    return T_NONE;
}

enum ptx_special special_find(const char *text, size_t length) {
    for (int k = SR_NONE + 1; k < SR_COUNT; k++)
        if (same(special_table[k], text, length))
            return (enum ptx_special)k;
    return SR_NONE;
}

bool special_exists(const char *text, size_t length) {
    static const char *const others[] = {"%envreg", "%pm", "%reserved_smem_offset_", "%current_graph_exec"};
    for (size_t k = 0; k < sizeof others / sizeof *others; k++)
        if (length >= strlen(others[k]) && memcmp(text, others[k], strlen(others[k])) == 0)
            return true;
    return special_find(text, length) != SR_NONE;
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
        for (at++; at < length && text[at] >= '0' && text[at] <= '9' && number <= 256; at++)
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
        *found = (struct modifier){MOD_FLAG, BIT_BYPASS};
    else
        return false;
    return true;
}

static bool find_word(const char *text, size_t length, struct modifier *found) {
    for (size_t t = 0; t < sizeof word_table / sizeof *word_table; t++)
        for (uint32_t value = 0; value < word_table[t].count; value++)
            for (int k = 0; k < MOST_WORDS && word_table[t].words[value][k]; k++)
                if (same(word_table[t].words[value][k], text, length)) {
                    *found = (struct modifier){word_table[t].kind, value};
                    return true;
                }
    return false;
}

struct modifier modifier_find(enum ptx_op op, const char *text, size_t length) {
    struct modifier found = {MOD_UNKNOWN, 0};
    if (find_ambiguous(op, text, length, &found))
        return found;
    enum ptx_type type = type_find(text, length);
    if (type != T_NONE)
        return (struct modifier){MOD_TYPE, type};
    if (find_word(text, length, &found))
        return found;
    for (size_t k = 0; k < sizeof modifier_table / sizeof *modifier_table; k++)
        if (same(modifier_table[k].name, text, length))
            return (struct modifier){modifier_table[k].kind, modifier_table[k].value};
    if (starts(text, length, "L1") || starts(text, length, "L2"))
        return (struct modifier){MOD_IGNORE, 0};
    if (read_shape(text, length, &found.value))
        found.kind = MOD_SHAPE;
    return found;
}
