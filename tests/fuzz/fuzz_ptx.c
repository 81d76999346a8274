/* What libFuzzer gives is loaded as a PTX text: parsed, bound, its variables placed where they are small. Nothing
 * runs. */
#include "runtime/softgpu/machine/machine.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SMALL = 4096, MOST = 64 }; /* bytes of a variable, variables */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char error[256] = "";
    uint8_t *memory[MOST] = {NULL};
    struct sg_module *m = sg_module_parse((const char *)data, size, error, sizeof error);
    if ((m == NULL) != (error[0] != '\0'))
        abort(); /* refused without a sentence, or with one and not refused */
    if (!m)
        return 0;
    for (int k = 0; k < sg_module_variable_count(m) && k < MOST; k++) {
        size_t bytes, align;
        const void *init;
        if (sg_module_variable_index(m, sg_module_variable(m, k, &bytes, &align, &init)) < 0)
            abort();
        if (bytes > SMALL)
            continue;
        memory[k] = calloc(1, bytes + 1);
        if (init)
            memcpy(memory[k], init, bytes);
        sg_module_variable_bind(m, k, (uintptr_t)memory[k]);
    }
    sg_module_link(m);
    for (int k = 0; k < sg_module_function_count(m); k++) {
        struct sg_function_info info;
        sg_function_describe(sg_module_function_at(m, k), &info);
        if (!sg_module_function(m, sg_module_function_name(m, k)))
            abort();
    }
    for (size_t k = 0; sg_module_lacks(m, k); k++)
        if (strncmp(sg_module_lacks(m, k), "PTX line ", 9) != 0)
            abort();
    sg_module_free(m);
    for (int k = 0; k < MOST; k++)
        free(memory[k]);
    return 0;
}
