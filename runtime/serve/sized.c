#include "sized.h"
#include "runtime/mixtune.h"
#include <string.h>

/* Where an older struct has padding at its end a new member would lie within its size, and be read: there is none. */
#define ENDS_WITH(type, member)                                                                                        \
    _Static_assert(sizeof(struct type) == offsetof(struct type, member) + sizeof(((struct type *)0)->member),          \
                   #type " has padding at its end")
ENDS_WITH(mt_shape, symmetric);
ENDS_WITH(mt_query, flags);
ENDS_WITH(mt_layer_info, layout);
ENDS_WITH(mt_choice, quantize_ns);
ENDS_WITH(mt_packed, columns_bytes);
ENDS_WITH(mt_weights, memory);
ENDS_WITH(mt_weights_info, has_bias);
ENDS_WITH(mt_activations, sums);
ENDS_WITH(mt_quantize_operands, out);
ENDS_WITH(mt_gemm_operands, workspace_bytes);

static enum mt_status sized_check(const size_t *theirs, size_t own_size, const char *name) {
    if (!theirs)
        return fail(MT_USAGE, "the address of a struct %s is NULL", name);
    if (*theirs < sizeof *theirs)
        return fail(MT_USAGE, "a struct %s has no size: set its member size to sizeof(struct %s)", name, name);
    if (*theirs > own_size)
        return fail(MT_USAGE,
                    "a struct %s has %zu bytes, and this library knows %zu of them: the program was compiled with the "
                    "mixtune.h of a newer library; use that one",
                    name, *theirs, own_size);
    return MT_OK;
}

enum mt_status sized_take(void *own, size_t own_size, const void *theirs, const char *name) {
    memset(own, 0, own_size);
    enum mt_status status = sized_check(theirs, own_size, name);
    if (status == MT_OK)
        memcpy(own, theirs, *(const size_t *)theirs);
    return status;
}

enum mt_status sized_give(void *theirs, const void *own, size_t own_size, const char *name) {
    enum mt_status status = sized_check(theirs, own_size, name);
    if (status != MT_OK)
        return status;
    const size_t rest = *(const size_t *)theirs - sizeof(size_t);
    if (own)
        memcpy((size_t *)theirs + 1, (const size_t *)own + 1, rest);
    else
        memset((size_t *)theirs + 1, 0, rest);
    return MT_OK;
}

enum mt_status given_not(const char *function, const char *names, size_t number) {
    while (number-- > 0)
        names = strchr(names, ' ') + 1;
    return fail(MT_USAGE, "%s: %.*s is NULL", function, (int)strcspn(names, " "), names);
}
