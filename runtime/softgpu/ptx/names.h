/* What the words of PTX mean. */
#ifndef SG_PTX_NAMES_H
#define SG_PTX_NAMES_H

#include "insn.h"

enum modifier_kind {
    MOD_UNKNOWN,
    MOD_TYPE,
    MOD_ROUND,
    MOD_COMPARE,
    MOD_SUB,
    MOD_SPACE,
    MOD_FLAG, /* value: enum ptx_flag_bit */
    MOD_VEC,
    MOD_NUM,
    MOD_SHAPE, /* m, n, k: ten bits of value each */
    MOD_IGNORE /* cache hints and scopes: no effect on values here */
};
struct modifier {
    enum modifier_kind kind;
    uint32_t value;
};
enum { SPACE_OF_CLUSTER = 128 }; /* beside enum ptx_space: .shared::cluster */
/* `text` is without the dot. Words with two meanings (.lo, .and, .sync) are settled by the instruction. */
struct modifier modifier_find(enum ptx_op op, const char *text, size_t length);
enum ptx_op op_find(const char *text, size_t length);           /* OP_COUNT if unknown */
enum ptx_type type_find(const char *text, size_t length);       /* without the dot; T_NONE if unknown */
enum ptx_special special_find(const char *text, size_t length); /* "%tid.x"; SR_NONE if unknown */

bool special_exists(const char *text, size_t length); /* it is one, though this device may not have it */
/* 64 bits; the others have 32. */
static inline bool special_is_wide(enum ptx_special number) {
    return number == SR_CLOCK64 || number == SR_GLOBALTIMER;
}

#endif
