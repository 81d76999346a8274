/* One operation of a stream: what it may touch, and doing it. */
#include "runtime/base/array.h"
#include "runtime/base/str.h"
#include "state.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct cu_op *cu_op_new(struct CUctx_st *context, enum cu_op_kind kind) {
    struct cu_op *op = xcalloc(1, sizeof *op);
    op->kind = kind;
    op->context = context;
    op->refs = 1;
    op->seconds = -1;
    return op;
}

static void *bytes_copy(const void *bytes, size_t size) {
    return bytes ? memcpy(xmalloc(size ? size : 1), bytes, size) : NULL;
}

struct cu_op *cu_op_clone(const struct cu_op *op) {
    struct cu_op *out = cu_op_new(op->context, op->kind);
    *out = *op;
    out->refs = 1;
    out->reach = NULL;
    out->reach_count = 0;
    out->reach_capacity = 0;
    out->staged = bytes_copy(op->staged, op->bytes);
    if (op->function) {
        op->function->module->refs++;
        out->params = bytes_copy(op->params, op->function->info.param_bytes);
    }
    return out;
}

void cu_op_unref(struct cu_op *op) {
    if (--op->refs > 0)
        return;
    for (int i = 0; i < op->reach_count; i++)
        cu_memory_unref(op->reach[i]);
    if (op->function)
        cu_module_unref(op->function->module);
    free(op->reach);
    free(op->params);
    free(op->staged);
    free(op);
}

static void touch(struct cu_op *op, struct cu_alloc *alloc) {
    if (alloc->host)
        op->host_visible = true;
    for (int i = 0; i < op->reach_count; i++)
        if (op->reach[i] == alloc)
            return;
    array_grow(&op->reach, &op->reach_capacity, (size_t)op->reach_count, sizeof(struct cu_alloc *));
    op->reach[op->reach_count++] = alloc;
    alloc->refs++;
}

/* The reach is every allocation alive. Nothing is known of what it does, so it counts as visible. */
static void touch_everything(struct cu_op *op) {
    int count = cu_memory_list(op->context, cu_device.sequence, NULL, 0);
    struct cu_alloc **all = xmalloc((size_t)(count + 1) * sizeof *all);
    cu_memory_list(op->context, cu_device.sequence, all, count);
    for (int i = 0; i < count; i++)
        touch(op, all[i]);
    free(all);
    op->host_visible = true;
}

static void launch_bind(struct cu_op *op) {
    const struct sg_function_info *info = &op->function->info;
    struct CUmod_st *module = op->function->module;
    for (int i = 0; i < module->variable_count; i++)
        if (sg_module_variable_named(module->code, i))
            touch(op, module->variables[i]);
    if (op->cooperative)
        touch(op, op->context->workspace);
    bool unknown = info->opaque_pointers;
    for (uint32_t at = 0; at + 8 <= info->param_bytes; at += 8) {
        uint64_t word;
        memcpy(&word, op->params + at, sizeof word);
        struct cu_alloc *alloc = cu_memory_find(op->context, word, cu_device.sequence);
        if (alloc)
            touch(op, alloc);
        else if (cu_memory_is_ours(word))
            unknown = true; /* just outside of an allocation: the kernel may come back into one */
    }
    if (unknown)
        touch_everything(op);
}

/* One side of a copy. Host memory that was not page-locked by this driver is never in the table; the copy to or from it
 * then has to happen before the host goes on. */
static CUresult side_bind(struct cu_op *op, uint64_t address, bool device) {
    struct cu_alloc *alloc = NULL;
    if (device || cu_memory_find(op->context, address, cu_device.sequence)) {
        CUresult result = cu_memory_range(op->context, address, op->bytes, &alloc);
        if (result != CUDA_SUCCESS)
            return result;
        touch(op, alloc);
    } else {
        op->host_visible = true;
    }
    return CUDA_SUCCESS;
}

CUresult cu_op_bind(struct cu_op *op) {
    CUresult result = CUDA_SUCCESS;
    if (op->kind == CU_OP_LAUNCH) {
        launch_bind(op);
    } else if (op->kind == CU_OP_FILL) {
        result = side_bind(op, op->dst, true);
    } else if (op->kind == CU_OP_COPY) {
        result = side_bind(op, op->dst, op->dst_device);
        if (result == CUDA_SUCCESS && !op->staged)
            result = side_bind(op, op->src, op->src_device);
    }
    return result;
}

bool cu_op_same_launch(const struct cu_op *a, const struct cu_op *b) {
    return a->kind == CU_OP_LAUNCH && b->kind == CU_OP_LAUNCH && a->function == b->function && a->shared == b->shared &&
           !memcmp(a->grid, b->grid, sizeof a->grid) && !memcmp(a->block, b->block, sizeof a->block) &&
           !memcmp(a->cluster, b->cluster, sizeof a->cluster) &&
           !memcmp(a->params, b->params, a->function->info.param_bytes);
}

static void fill_run(const struct cu_op *op) {
    char *at = (char *)(uintptr_t)op->dst; /* NOLINT(performance-no-int-to-ptr): a device address is a host address */
    if (op->width == 1) {
        memset(at, (int)op->value, op->bytes);
        return;
    }
    for (size_t i = 0; i + op->width <= op->bytes; i += op->width)
        memcpy(at + i, &op->value, op->width); /* little-endian: the low bytes come first */
}

static const struct cu_alloc *reached(const struct cu_op *op, uint64_t address) {
    for (int i = 0; i < op->reach_count; i++)
        if (address - op->reach[i]->base < op->reach[i]->size)
            return op->reach[i];
    return NULL;
}

static void copy_marks(const struct cu_op *op) {
    const struct cu_alloc *to = reached(op, op->dst);
    if (to)
        cu_memory_written(to, op->dst, op->bytes, op->staged ? NULL : reached(op, op->src), op->src);
}

static CUresult fault_result(enum sg_fault_kind kind) {
    switch (kind) {
    case SG_FAULT_OUT_OF_BOUNDS:
        return CUDA_ERROR_ILLEGAL_ADDRESS;
    case SG_FAULT_MISALIGNED:
        return CUDA_ERROR_MISALIGNED_ADDRESS;
    case SG_FAULT_TIMEOUT:
    case SG_FAULT_DEADLOCK:
        return CUDA_ERROR_LAUNCH_TIMEOUT;
    case SG_FAULT_ASSERT:
        return CUDA_ERROR_ASSERT;
    case SG_FAULT_UNSUPPORTED:
        return CUDA_ERROR_ILLEGAL_INSTRUCTION;
    case SG_FAULT_LAUNCH:
        return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
    case SG_FAULT_LACKING:
        return CUDA_ERROR_NOT_SUPPORTED;
    default:
        return CUDA_ERROR_LAUNCH_FAILED;
    }
}

CUresult cu_op_run(struct cu_op *op) {
    CUresult result = CUDA_SUCCESS;
    op->done = true;
    switch (op->kind) {
    case CU_OP_LAUNCH: {
        struct sg_fault fault = {0};
        if (!cu_launch_run(op, &fault)) {
            result = op->context->error = fault_result(fault.kind);
            cu_fail(result, "%s", fault.text);
        }
        break;
    }
    case CU_OP_FILL:
        cu_memory_overwrite(op->reach[0], op->dst, op->bytes);
        fill_run(op);
        cu_memory_written(op->reach[0], op->dst, op->bytes, NULL, 0);
        break;
    case CU_OP_COPY:
        if (op->dst_device && op->dst != op->src)
            cu_memory_overwrite(op->reach[0], op->dst, op->bytes);
        memmove((void *)(uintptr_t)op->dst, op->staged ? op->staged : (void *)(uintptr_t)op->src, op->bytes);
        copy_marks(op);
        break;
    case CU_OP_CALL:
        cu_callback_begin();
        op->call(op->argument);
        cu_callback_end();
        break;
    case CU_OP_RECORD:
        break;
    }
    return result;
}
