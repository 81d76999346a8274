/* Fat binaries against NVIDIA's own tool, and what is read off a cubin against what ptxas says. Both tools are skipped
 * where they are not installed; NVRTC makes the cubins. */
#include "runtime/base/file.h"
#include "runtime/jit/compiler.h"
#include "runtime/jit/cubin.h"
#include "runtime/jit/fatbin.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* after the above */
#include <cmocka.h>

static char folder[] = "/tmp/mixtune-fatbin-XXXXXX";

/* A kernel with static shared memory, a local array and, with many values alive, spilled registers. */
static const char source[] =
    "extern \"C\" __global__ void __launch_bounds__(THREADS, 1) k(float *p, int n) {\n"
    "#if SHARED\n"
    "    __shared__ float s[SHARED];\n"
    "    s[threadIdx.x % SHARED] = p[threadIdx.x];\n"
    "    __syncthreads();\n"
    "    p[threadIdx.x] = s[(threadIdx.x + 1) % SHARED];\n"
    "#endif\n"
    "    float a[ALIVE], b[16];\n"
    "#pragma unroll\n"
    "    for (int i = 0; i < ALIVE; i++) a[i] = p[i * n];\n"
    "    for (int i = 0; i < 16; i++) b[i] = a[i] * p[-i];\n"
    "    for (int j = 0; j < n; j++) {\n"
    "#pragma unroll\n"
    "        for (int i = 0; i < ALIVE; i++) a[i] = a[i] * p[j] + a[(i + 1) % ALIVE];\n"
    "    }\n"
    "#pragma unroll\n"
    "    for (int i = 0; i < ALIVE; i++) p[i * n + threadIdx.x] = a[i] + (LOCAL ? b[n & 15] : 0.0f);\n"
    "}\n";

struct variant {
    const char *arch;
    int threads, shared, alive, local;
};
static const struct variant variants[] = {
    {"sm_80", 128, 256, 16, 0}, {"sm_80", 1024, 0, 120, 0}, {"sm_89", 256, 33, 48, 1},    {"sm_90a", 128, 100, 40, 1},
    {"sm_90a", 512, 0, 150, 0}, {"sm_90", 64, 0, 8, 0},     {"sm_100a", 128, 300, 24, 1}, {"sm_120", 1024, 64, 90, 0},
};
enum { VARIANTS = sizeof variants / sizeof *variants };

static void compile(const struct variant *v, struct str *cubin, struct str *ptx) {
    struct str text[4] = {{0}};
    const char *options[4];
    str_printf(&text[0], "-DTHREADS=%d", v->threads);
    str_printf(&text[1], "-DSHARED=%d", v->shared);
    str_printf(&text[2], "-DALIVE=%d", v->alive);
    str_printf(&text[3], "-DLOCAL=%d", v->local);
    for (int i = 0; i < 4; i++)
        options[i] = text[i].data;
    enum mt_status status = compiler_run("k.cu", source, v->arch, options, 4, cubin, ptx, NULL);
    if (status == MT_NO_DEVICE)
        skip();
    if (status != MT_OK)
        fail_msg("%s", fail_message());
    for (int i = 0; i < 4; i++)
        str_release(&text[i]);
}

static void write_file(const char *name, const void *data, size_t size) {
    struct str path = {0};
    str_printf(&path, "%s/%s", folder, name);
    assert_int_equal(file_write_atomic(path.data, data, size), MT_OK);
    str_release(&path);
}

static void read_back(const char *name, struct str *out) {
    struct str path = {0};
    str_printf(&path, "%s/%s", folder, name);
    assert_int_equal(file_read(path.data, out), MT_OK);
    str_release(&path);
}

/* Runs a tool of the toolkit in the test's folder. */
static void run_tool(const char *tool, const char *arguments) {
    const char *home = getenv("CUDA_HOME");
    struct str path = {0}, command = {0};
    str_printf(&path, "%s/bin/%s", home && *home ? home : "/usr/local/cuda", tool);
    if (access(path.data, X_OK) != 0)
        skip();
    str_printf(&command, "cd %s && %s %s", folder, path.data, arguments);
    assert_int_equal(system(command.data), 0);
    str_release(&path);
    str_release(&command);
}

static uint64_t number_at(const struct str *file, size_t at, size_t bytes) {
    uint64_t value = 0;
    assert_true(at + bytes <= file->length);
    memcpy(&value, file->data + at, bytes);
    return value;
}

/* Where the payload of entry `index` begins. */
static size_t payload_at(const struct str *file, int index) {
    size_t at = 16;
    while (index-- > 0)
        at += number_at(file, at + 4, 4) + number_at(file, at + 8, 8);
    return at + number_at(file, at + 4, 4);
}

/* The tool strips comments from the PTX, so its own PTX is what both are compared with. */
static void same_as_the_tool(void **state) {
    (void)state;
    for (int i = 0; i < VARIANTS; i++) {
        struct str cubin = {0}, ptx = {0}, tool = {0}, ours = {0}, arguments = {0};
        const char *arch = variants[i].arch;
        compile(&variants[i], &cubin, &ptx);
        write_file("k.cubin", cubin.data, cubin.length);
        write_file("k.ptx", ptx.data, strlen(ptx.data));
        str_printf(&arguments,
                   "--64 --create=k.fatbin --image3=kind=elf,sm=%s,file=k.cubin --image3=kind=ptx,sm=%s,file=k.ptx "
                   "--compress=false",
                   arch + 3, arch + 3);
        run_tool("fatbinary", arguments.data);
        read_back("k.fatbin", &tool);
        assert_int_equal(fatbin_write(arch, cubin.data, cubin.length, tool.data + payload_at(&tool, 1), &ours), MT_OK);
        assert_int_equal(ours.length, tool.length);
        assert_memory_equal(ours.data, tool.data, tool.length);
        str_release(&cubin);
        str_release(&ptx);
        str_release(&tool);
        str_release(&ours);
        str_release(&arguments);
    }
}

static void holds_both_whole(void **state) {
    (void)state;
    for (int i = 0; i < VARIANTS; i++) {
        struct str cubin = {0}, ptx = {0}, file = {0};
        compile(&variants[i], &cubin, &ptx);
        str_append(&file, "before"); /* it appends */
        assert_int_equal(fatbin_write(variants[i].arch, cubin.data, cubin.length, ptx.data, &file), MT_OK);
        assert_memory_equal(file.data, "before", 6);
        memmove(file.data, file.data + 6, file.length -= 6);
        assert_int_equal(number_at(&file, 8, 8), file.length - 16);
        size_t size = 0;
        const char *found = fatbin_cubin(file.data, file.length, &size);
        assert_true(found && size >= cubin.length && size < cubin.length + 8);
        assert_memory_equal(found, cubin.data, cubin.length);
        assert_null(fatbin_cubin(file.data, (size_t)(found - file.data) + cubin.length - 1, &size));
        assert_null(fatbin_cubin(cubin.data, 16, &size));
        assert_memory_equal(file.data + payload_at(&file, 0), cubin.data, cubin.length);
        assert_string_equal(file.data + payload_at(&file, 1), ptx.data);
        assert_int_equal(payload_at(&file, 1) % 8, 0);
        str_release(&cubin);
        str_release(&ptx);
        str_release(&file);
    }
}

static int number_after(const char *text, const char *word) {
    const char *at = strstr(text, word);
    return at ? atoi(at + strlen(word)) : 0;
}

/* The number before " word". */
static int number_before(const char *text, const char *word) {
    const char *at = strstr(text, word);
    while (at && at > text && (at[-1] >= '0' && at[-1] <= '9'))
        at--;
    return at ? atoi(at) : 0;
}

static void usage_is_what_ptxas_says(void **state) {
    (void)state;
    int spilled = 0;
    for (int i = 0; i < VARIANTS; i++) {
        struct str cubin = {0}, ptx = {0}, arguments = {0}, log = {0};
        struct cubin_usage usage;
        compile(&variants[i], &cubin, &ptx);
        write_file("k.ptx", ptx.data, strlen(ptx.data));
        str_printf(&arguments, "-v -arch=%s k.ptx -o k.cubin 2>log", variants[i].arch);
        run_tool("ptxas", arguments.data);
        str_clear(&cubin);
        read_back("k.cubin", &cubin);
        read_back("log", &log);
        assert_int_equal(cubin_usage(cubin.data, cubin.length, &usage), MT_OK);
        assert_int_equal(usage.registers, number_after(log.data, "Used "));
        assert_int_equal(usage.local_bytes, number_before(log.data, " bytes stack frame"));
        assert_int_equal(usage.smem_static, number_before(log.data, " bytes smem"));
        assert_int_equal(usage.smem_static, variants[i].shared * 4);
        spilled += number_before(log.data, " bytes spill stores") > 0;
        str_release(&cubin);
        str_release(&ptx);
        str_release(&arguments);
        str_release(&log);
    }
    assert_true(spilled > 0);
}

/* A cubin cut short or with a byte changed is refused or read, never read beyond its end (the sanitiser watches). */
static void damage_is_harmless(void **state) {
    (void)state;
    struct str cubin = {0}, ptx = {0};
    struct cubin_usage usage;
    struct cubin_ident ident;
    compile(&variants[3], &cubin, &ptx);
    for (size_t size = 0; size < cubin.length; size += 1 + (size_t)(lrand48() % 97)) {
        void *part = xmalloc(size + 1);
        void *exact = xrealloc(part, size ? size : 1);
        memcpy(exact, cubin.data, size);
        assert_int_equal(cubin_usage(exact, size, &usage), MT_FAILURE);
        assert_int_equal(cubin_identify(exact, size, &ident), MT_FAILURE);
        free(exact);
    }
    for (int i = 0; i < 3000; i++) {
        char *copy = xcalloc(cubin.length + 1, 1);
        memcpy(copy, cubin.data, cubin.length);
        copy[(size_t)lrand48() % (cubin.length + 1)] ^= (char)(1 + lrand48() % 255);
        if (cubin_usage(copy, cubin.length, &usage) == MT_OK)
            assert_true(usage.registers > 0);
        if (cubin_identify(copy, cubin.length, &ident) == MT_OK && ident.compat)
            assert_true((const char *)ident.compat + ident.compat_size <= copy + cubin.length);
        free(copy);
    }
    struct str file = {0};
    assert_int_equal(fatbin_write("pascal", cubin.data, cubin.length, ptx.data, &file), MT_FAILURE);
    assert_int_equal(fatbin_write("sm_80", cubin.data, cubin.length, "no version", &file), MT_FAILURE);
    assert_int_equal(fatbin_write("sm_80", ptx.data, ptx.length, ptx.data, &file), MT_FAILURE);
    assert_int_equal(file.length, 0);
    str_release(&file);
    str_release(&cubin);
    str_release(&ptx);
}

static enum mt_status check_exact(const char *bytes, size_t size, const char *arch, const char *entry) {
    struct cubin_usage usage;
    char *exact = xmalloc(size); /* one byte beyond is one too many */
    memcpy(exact, bytes, size);
    enum mt_status status = fatbin_check(exact, size, arch, entry, &usage);
    if (status == MT_OK)
        assert_true(usage.registers > 0 && usage.registers <= 256);
    free(exact);
    return status;
}

/* Of bytes that somebody else wrote only those are taken that could be ours. */
static void foreign_bytes_are_refused(void **state) {
    (void)state;
    for (int i = 0; i < VARIANTS; i += 3) { /* sm_80, sm_90a, sm_100a */
        struct str cubin = {0}, ptx = {0}, file = {0};
        const char *arch = variants[i].arch;
        compile(&variants[i], &cubin, &ptx);
        assert_int_equal(fatbin_write(arch, cubin.data, cubin.length, ptx.data, &file), MT_OK);
        if (check_exact(file.data, file.length, arch, "k") != MT_OK)
            fail_msg("%s: %s", arch, fail_message());
        assert_int_equal(check_exact(file.data, file.length, arch, "other"), MT_FAILURE);
        assert_string_equal(fail_message(), "the machine code has no kernel other");
        assert_int_equal(check_exact(file.data, file.length, "sm_75", "k"), MT_FAILURE);
        assert_int_equal(check_exact(cubin.data, cubin.length, arch, "k"), MT_FAILURE);
        assert_int_equal(check_exact(ptx.data, ptx.length, arch, "k"), MT_FAILURE);
        const size_t elf = payload_at(&file, 0), text = payload_at(&file, 1);
        for (size_t at = 0; at < file.length; at++) { /* every byte of the headers, some of the rest */
            const bool header = at < elf || (at >= elf + cubin.length && at < text);
            if (!header && lrand48() % 97)
                continue;
            const char was = file.data[at];
            file.data[at] ^= (char)(1 + lrand48() % 255);
            const enum mt_status status = check_exact(file.data, file.length, arch, "k");
            if (header && status != MT_FAILURE)
                fail_msg("%s: byte %zu of the headers may be anything", arch, at);
            file.data[at] = was;
        }
        for (size_t size = 0; size < file.length; size += 1 + (size_t)(lrand48() % 997))
            assert_int_equal(check_exact(file.data, size, arch, "k"), MT_FAILURE);
        str_append_bytes(&file, "\0\0\0\0\0\0\0\0", 8);
        assert_int_equal(check_exact(file.data, file.length, arch, "k"), MT_FAILURE);
        str_release(&cubin);
        str_release(&ptx);
        str_release(&file);
    }
}

static int make_folder(void **state) {
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
    (void)state;
    struct str command = {0};
    str_printf(&command, "rm -rf %s", folder);
    int result = system(command.data);
    str_release(&command);
    return result;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_as_the_tool),          cmocka_unit_test(holds_both_whole),
        cmocka_unit_test(usage_is_what_ptxas_says),  cmocka_unit_test(damage_is_harmless),
        cmocka_unit_test(foreign_bytes_are_refused),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
