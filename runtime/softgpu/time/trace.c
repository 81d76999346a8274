#include "trace.h"
#include "runtime/base/str.h"
#include <fcntl.h>
#include <stddef.h>
#include <unistd.h>

#define COUNTER(member)                                                                                                \
    { #member, offsetof(struct sg_counters, member) }
#define PIPE(name, which)                                                                                              \
    { "pipe_" name, offsetof(struct sg_counters, pipe) + (which) * sizeof(uint64_t) }
#define MACHINE(name, which)                                                                                           \
    { "machine_" name, offsetof(struct sg_counters, machine_pipe) + (which) * sizeof(uint64_t) }

const struct model_counter model_counters[] = {
    COUNTER(warp_instructions),
    COUNTER(lane_instructions),
    PIPE("alu", SG_PIPE_ALU),
    PIPE("fma", SG_PIPE_FMA),
    PIPE("imad", SG_PIPE_IMAD),
    PIPE("half", SG_PIPE_HALF),
    PIPE("xu", SG_PIPE_XU),
    PIPE("lsu", SG_PIPE_LSU),
    PIPE("fp64", SG_PIPE_FP64),
    PIPE("branch", SG_PIPE_BRANCH),
    PIPE("tensor", SG_PIPE_TENSOR),
    COUNTER(machine_instructions),
    MACHINE("alu", SG_PIPE_ALU),
    MACHINE("fma", SG_PIPE_FMA),
    MACHINE("imad", SG_PIPE_IMAD),
    MACHINE("half", SG_PIPE_HALF),
    MACHINE("xu", SG_PIPE_XU),
    MACHINE("lsu", SG_PIPE_LSU),
    MACHINE("fp64", SG_PIPE_FP64),
    MACHINE("branch", SG_PIPE_BRANCH),
    MACHINE("tensor", SG_PIPE_TENSOR),
    COUNTER(mma_ops_int8),
    COUNTER(mma_ops_f16),
    COUNTER(mma_ops_other),
    COUNTER(shared_wavefronts),
    COUNTER(shared_conflicts),
    COUNTER(global_requests),
    COUNTER(global_sectors),
    COUNTER(global_bytes_read),
    COUNTER(global_bytes_written),
    COUNTER(async_bytes),
    COUNTER(barriers),
    COUNTER(atomics),
    COUNTER(max_inflight_bytes),
    COUNTER(spill_accesses),
    COUNTER(max_warp_instructions),
    {0},
};
/* A counter that is added to the struct belongs here too. */
_Static_assert(sizeof model_counters / sizeof *model_counters - 1 == sizeof(struct sg_counters) / sizeof(uint64_t),
               "a counter is missing in model_counters");

static void append_text(struct str *out, const char *text) {
    str_append(out, "\"");
    for (; *text; text++)
        if (*text == '"' || *text == '\\')
            str_printf(out, "\\%c", *text);
        else
            str_printf(out, (unsigned char)*text < ' ' ? "\\u%04x" : "%c", (unsigned char)*text);
    str_append(out, "\"");
}

void model_trace(const char *path, const char *label, const char *name, const struct model_kernel *kernel,
                 double seconds) {
    struct str line = {0};
    str_append(&line, "{\"label\":");
    append_text(&line, label);
    str_append(&line, ",\"kernel\":");
    append_text(&line, name);
    str_printf(&line,
               ",\"counted\":%llu,\"ctas\":%llu,\"threads\":%u,\"ctas_per_sm\":%u,\"distinct\":%llu,\"footprint\":%llu,"
               "\"wgmma\":%s,"
               "\"counters\":{",
               (unsigned long long)kernel->counted, (unsigned long long)kernel->ctas, kernel->threads,
               kernel->ctas_per_sm, (unsigned long long)kernel->distinct, (unsigned long long)kernel->footprint,
               kernel->wgmma ? "true" : "false");
    for (const struct model_counter *c = model_counters; c->name; c++)
        str_printf(&line, "%s\"%s\":%llu", c == model_counters ? "" : ",", c->name,
                   (unsigned long long)*(const uint64_t *)((const char *)kernel->counters + c->offset));
    str_printf(&line, "},\"seconds\":%.17g}\n", seconds);
    int file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    ssize_t written = file < 0 ? 0 : write(file, line.data, line.length);
    (void)written;
    if (file >= 0)
        close(file);
    str_release(&line);
}
