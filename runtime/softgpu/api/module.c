/* Modules: an image is read, its PTX parsed, its variables get memory. */
#include "runtime/base/file.h"
#include "runtime/base/log.h"
#include "runtime/base/str.h"
#include "state.h"
#include <stdlib.h>
#include <string.h>

void cu_module_unref(struct CUmod_st *module) {
    if (--module->refs > 0)
        return;
    for (int i = 0; i < module->function_count; i++) {
        free(module->functions[i].name);
        free(module->functions[i].expansion);
    }
    free(module->functions);
    free(module->variables);
    dev_image_release(&module->image);
    sg_module_free(module->code);
    free(module);
}

/* Off the context's list. The code stays while operations refer to it. */
static void module_unload(struct CUmod_st **at) {
    struct CUmod_st *module = *at;
    *at = module->next;
    for (int i = 0; i < module->variable_count; i++)
        if (module->variables[i])
            cu_memory_kill(module->variables[i]);
    module->variable_count = 0;
    cu_module_unref(module);
}

void cu_module_unload_all(struct CUctx_st *context) {
    while (context->modules)
        module_unload(&context->modules);
}

static struct CUmod_st **module_find(struct CUctx_st *context, CUmodule handle) {
    struct CUmod_st **at = &context->modules;
    while (*at && *at != handle)
        at = &(*at)->next;
    return *at ? at : NULL;
}

/* Without a cubin nobody knows how many registers the compiler would take: 40, which lets every block size launch, or
 * what the kernel's own bounds leave it. */
static unsigned registers_guess(const struct sg_function_info *info) {
    if (!info->max_threads)
        return 40;
    unsigned blocks = info->min_ctas_per_sm ? info->min_ctas_per_sm : 1;
    unsigned most = cu_device.profile->registers_per_sm / (info->max_threads * blocks) / 8 * 8;
    return most > 128 ? 128 : most < 16 ? 16 : most;
}

static void function_init(struct CUmod_st *module, struct CUfunc_st *f, int index) {
    const char *name = sg_module_function_name(module->code, index);
    f->module = module;
    f->name = xstrdup(name);
    f->code = sg_module_function_at(module->code, index);
    sg_function_describe(f->code, &f->info);
    f->local_bytes = f->info.local_bytes;
    f->carveout = -1;
    int plain = 48 * 1024 - (int)f->info.shared_static;
    f->dynamic_limit = plain > 0 ? plain : 0;
    const struct dev_kernel_facts *facts = dev_image_facts(&module->image, name);
    f->registers_estimated = !facts || !facts->registers;
    if (f->registers_estimated) {
        f->registers = registers_guess(&f->info);
        log_debug("softgpu: %s: the image has no cubin, so %u registers per thread are a guess", name, f->registers);
    } else {
        f->registers = facts->registers;
        f->local_bytes = facts->local_bytes;
    }
}

static CUresult variable_bind(struct CUmod_st *module, int index) {
    size_t size, align;
    const void *init;
    struct cu_alloc *alloc;
    sg_module_variable(module->code, index, &size, &align, &init);
    CUresult result = cu_memory_alloc(module->context, size ? size : 1, false, &alloc);
    if (result != CUDA_SUCCESS)
        return result;
    void *at = (void *)(uintptr_t)alloc->base;
    if (init)
        memcpy(at, init, size);
    else
        memset(at, 0, size);
    cu_memory_written(alloc, alloc->base, size ? size : 1, NULL, 0);
    module->variables[index] = alloc;
    sg_module_variable_bind(module->code, index, alloc->base);
    return CUDA_SUCCESS;
}

/* Compilers emit each constant of a class as a variable, a hundred in a kernel of templates, and no instruction names
 * them: such a variable has memory when the host asks for it. A process can map some thirty thousand allocations. */
static CUresult variables_bind(struct CUmod_st *module) {
    CUresult result = CUDA_SUCCESS;
    module->variable_count = sg_module_variable_count(module->code);
    module->variables = xcalloc((size_t)module->variable_count + 1, sizeof *module->variables);
    for (int i = 0; i < module->variable_count && result == CUDA_SUCCESS; i++)
        if (sg_module_variable_named(module->code, i))
            result = variable_bind(module, i);
    if (result == CUDA_SUCCESS)
        sg_module_link(module->code);
    return result;
}

static CUresult module_load(struct CUctx_st *context, const void *data, CUmodule *out) {
    static uint64_t serial;
    char error[1024] = "";
    struct CUmod_st *m = xcalloc(1, sizeof *m);
    m->context = context;
    m->refs = 1;
    m->serial = ++serial;
    CUresult result = dev_image_read(data, cu_device.profile->compute_capability, &m->image, error, sizeof error);
    if (result == CUDA_SUCCESS) {
        m->code = sg_module_parse(m->image.ptx, m->image.ptx_length, error, sizeof error);
        result = m->code ? CUDA_SUCCESS : CUDA_ERROR_INVALID_PTX;
    }
    if (result != CUDA_SUCCESS) {
        cu_fail(result, "cannot load the module: %s", error);
        dev_image_release(&m->image);
        free(m);
        return result;
    }
    if (sg_module_lacks(m->code, 0))
        log_debug("softgpu: this device does not have all instructions of the module: %s", sg_module_lacks(m->code, 0));
    m->wgmma = strstr(m->image.ptx, "wgmma.mma_async") != NULL;
    m->function_count = sg_module_function_count(m->code);
    m->functions = xcalloc((size_t)m->function_count + 1, sizeof *m->functions);
    for (int i = 0; i < m->function_count; i++)
        function_init(m, &m->functions[i], i);
    m->next = context->modules;
    context->modules = m;
    result = variables_bind(m);
    if (result == CUDA_SUCCESS)
        *out = m;
    else
        module_unload(&context->modules);
    return result;
}

CU_API cuModuleLoadData(CUmodule *out, const void *image) {
    struct CUctx_st *context;
    CUresult result = cu_enter(&context);
    if (result == CUDA_SUCCESS && (!out || !image))
        result = CUDA_ERROR_INVALID_VALUE;
    if (result == CUDA_SUCCESS)
        result = module_load(context, image, out);
    return cu_leave(result);
}

/* The options ask a compiler that is not here for things; its logs stay empty. */
CU_API cuModuleLoadDataEx(CUmodule *out, const void *image, unsigned count, CUjit_option *options, void **values) {
    for (unsigned i = 0; i < count && options && values; i++)
        if (options[i] == CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES || options[i] == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES)
            values[i] = NULL; /* bytes written */
    return cuModuleLoadData(out, image);
}

CU_API cuModuleLoadFatBinary(CUmodule *out, const void *image) {
    return cuModuleLoadData(out, image);
}

#define IMAGE_MOST ((size_t)1 << 30) /* bytes of a file */
CU_API cuModuleLoad(CUmodule *out, const char *path) {
    struct str text = {0};
    CUresult result = CUDA_ERROR_INVALID_VALUE;
    if (path && file_read_most(path, IMAGE_MOST, MT_FAILURE, &text) == MT_OK)
        result = cuModuleLoadData(out, text.data);
    else if (path)
        result = cu_fail(CUDA_ERROR_FILE_NOT_FOUND, "%s", fail_message());
    str_release(&text);
    return result;
}

CU_API cuModuleUnload(CUmodule handle) {
    struct CUctx_st *context;
    CUresult result = cu_enter_quietly(&context);
    struct CUmod_st **at = result == CUDA_SUCCESS ? module_find(context, handle) : NULL;
    if (result == CUDA_SUCCESS && !at)
        result = CUDA_ERROR_INVALID_HANDLE;
    if (result == CUDA_SUCCESS && context->error == CUDA_SUCCESS)
        result = cu_queue_settle(context, NULL, NULL);
    if (at) {
        module_unload(at);
        cu_queue_drop(context, false);
    }
    return cu_leave(result);
}

CU_API cuModuleGetFunction(CUfunction *out, CUmodule handle, const char *name) {
    struct CUctx_st *context;
    CUresult result = cu_enter(&context);
    if (result == CUDA_SUCCESS && (!out || !name))
        result = CUDA_ERROR_INVALID_VALUE;
    if (result == CUDA_SUCCESS && !module_find(context, handle))
        result = CUDA_ERROR_INVALID_HANDLE;
    if (result != CUDA_SUCCESS)
        return cu_leave(result);
    const int index = sg_module_function_index(handle->code, name);
    if (index < 0)
        return cu_leave(CUDA_ERROR_NOT_FOUND);
    *out = &handle->functions[index];
    return cu_leave(CUDA_SUCCESS);
}

CU_API cuModuleGetFunctionCount(unsigned *out, CUmodule handle) {
    struct CUctx_st *context;
    CUresult result = cu_enter(&context);
    if (result == CUDA_SUCCESS && (!out || !module_find(context, handle)))
        result = CUDA_ERROR_INVALID_VALUE;
    if (result == CUDA_SUCCESS)
        *out = (unsigned)handle->function_count;
    return cu_leave(result);
}

CU_API cuModuleGetGlobal_v2(CUdeviceptr *address, size_t *size, CUmodule handle, const char *name) {
    struct CUctx_st *context;
    CUresult result = cu_enter(&context);
    if (result == CUDA_SUCCESS && !name)
        result = CUDA_ERROR_INVALID_VALUE;
    if (result == CUDA_SUCCESS && !module_find(context, handle))
        result = CUDA_ERROR_INVALID_HANDLE;
    if (result != CUDA_SUCCESS)
        return cu_leave(result);
    const int index = sg_module_variable_index(handle->code, name);
    size_t bytes, align;
    const void *init;
    if (index < 0)
        return cu_leave(CUDA_ERROR_NOT_FOUND);
    if (!handle->variables[index])
        result = variable_bind(handle, index);
    if (result != CUDA_SUCCESS)
        return cu_leave(result);
    sg_module_variable(handle->code, index, &bytes, &align, &init);
    if (address)
        *address = handle->variables[index]->base;
    if (size)
        *size = bytes;
    return cu_leave(CUDA_SUCCESS);
}
