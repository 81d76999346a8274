/* Where a library of the toolkit is looked for, why one is not taken, and what the words of a compiler mean. The library
 * is one of this project's under another name, so that no machine has it elsewhere. */
#include "runtime/base/file.h"
#include "runtime/base/log.h"
#include "runtime/jit/compile.h"
#include "runtime/jit/compiler.h"
#include "runtime/jit/toolkit.h"
#include "runtime/jit/verdict.h"
#include <dlfcn.h>
#include <elf.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* after the above */
#include <cmocka.h>

static char folder[] = "/tmp/mixtune-toolkit-XXXXXX";
static char real_library[PATH_MAX];
static const char *unfit; /* what speaks against the library */

static bool fits(struct str *why) {
    str_append(why, unfit ? unfit : "");
    return !unfit;
}

static enum mt_status load(const char *function, struct str *path) {
    static void *found;
    const struct symbol symbol = {0, function};
    const struct toolkit_library library = {"mixfake", "the fake", &symbol, 1, &found, fits};
    return toolkit_load(&library, path);
}

static void path_in(const char *below, const char *name, struct str *path) {
    str_printf(path, "%s/%s", folder, below);
    assert_int_equal(folder_make(path->data), MT_OK);
    str_printf(path, "/%s", name);
}

static void home_is(const char *below) {
    struct str home = {0};
    str_printf(&home, "%s/%s", folder, below);
    setenv("CUDA_HOME", home.data, 1);
    str_release(&home);
}

static void every_layout(void **state) {
    (void)state;
    static const char *const layouts[][2] = {
        {"a", "a/lib64"},
        {"b", "b/lib"},
        {"d/nvidia", "d/nvidia/cu13/lib"},
        {"e/nvidia", "e/nvidia/cuda_nvrtc/lib"},
        {"f/nvidia/cuda_nvrtc", "f/nvidia/cublas/lib"},
        {"g/lib64", "g/lib64"},
#if defined(__x86_64__)
        {"h", "h/targets/x86_64-linux/lib"},
        {"i", "i/lib/x86_64-linux-gnu"},
#endif
    };
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++) {
        struct str link = {0}, path = {0};
        path_in(layouts[i][0], "", &link); /* the folder itself is there */
        str_clear(&link);
        path_in(layouts[i][1], i % 2 ? "libmixfake.so.12" : "libmixfake.so.13", &link);
        assert_int_equal(symlink(real_library, link.data), 0);
        home_is(layouts[i][0]);
        if (load("cuInit", &path))
            fail_msg("%s: %s", layouts[i][1], fail_message());
        assert_string_equal(path.data, real_library);
        str_release(&link);
        str_release(&path);
    }
    /* From where the command stands, too. */
    char here[PATH_MAX];
    assert_non_null(getcwd(here, sizeof here));
    assert_int_equal(chdir(folder), 0);
    setenv("CUDA_HOME", "a", 1);
    assert_int_equal(load("cuInit", NULL), MT_OK);
    assert_int_equal(chdir(here), 0);
}

static void assert_refused(enum mt_status status, const char *function, const char *words) {
    assert_int_equal(load(function, NULL), status);
    if (!strstr(fail_message(), words))
        fail_msg("'%s' is not in '%s'", words, fail_message());
}

static void write_library(const char *below, const void *bytes, size_t size) {
    struct str path = {0};
    path_in(below, "libmixfake.so.13", &path);
    assert_int_equal(file_write_atomic(path.data, bytes, size), MT_OK);
    str_release(&path);
}

static void refusals_say_why(void **state) {
    (void)state;
    Elf64_Ehdr foreign = {.e_ident = ELFMAG, .e_machine = EM_S390};
    foreign.e_ident[EI_CLASS] = ELFCLASS64;
    setenv("CUDA_HOME", "/no/such/toolkit", 1);
    assert_refused(MT_NO_DEVICE, "cuInit", "/no/such/toolkit: No such file or directory; install");
    setenv("CUDA_HOME", real_library, 1);
    assert_refused(MT_NO_DEVICE, "cuInit", "Not a directory");
    write_library("foreign/lib64", &foreign, sizeof foreign);
    home_is("foreign");
    assert_refused(MT_NO_DEVICE, "cuInit", "/foreign/lib64/libmixfake.so.13: it is for another architecture");
    write_library("text/lib64", "no library", 10);
    home_is("text");
    assert_refused(MT_NO_DEVICE, "cuInit", "/text/lib64/libmixfake.so.13: file too short");
    home_is("a");
    assert_refused(MT_NO_DEVICE, "cuFly", "/a/lib64/libmixfake.so.13: it has no function cuFly");
    unfit = "it is of clay";
    assert_refused(MT_NO_DEVICE, "cuInit", "the fake (libmixfake.so.13 or .12)");
    assert_refused(MT_NO_DEVICE, "cuInit", "/a/lib64/libmixfake.so.13: it is of clay");
    /* Short of something: that is no reason to take another library. */
    unfit = "cannot open shared object file: Too many open files";
    assert_refused(MT_FAILURE, "cuInit", "Too many open files; free memory, or raise the limits");
    unfit = "libbuiltins.so: failed to map segment from shared object";
    assert_refused(MT_FAILURE, "cuInit", "failed to map segment");
    unfit = "failed to map segment from shared object: Operation not permitted"; /* no executables there */
    assert_refused(MT_NO_DEVICE, "cuInit", "Operation not permitted");
    unfit = NULL;
    unsetenv("CUDA_HOME");
    assert_refused(MT_NO_DEVICE, "cuInit", "that can be used; install the CUDA toolkit 12.4 or later");
}

static void verdicts(void **state) {
    (void)state;
    static const struct {
        const char *log, *line;
        bool verdict;
    } cases[] = {
        {"k.cu(1): error: identifier \"y\" is undefined\n  int x = y;\n          ^\n\n2 errors detected in the "
         "compilation of \"k.cu\".\n",
         "k.cu(1): error: identifier \"y\" is undefined", true},
        {"ptxas application ptx input, line 21; error   : Not a name of any known instruction: 'bogus'\nptxas fatal   "
         ": Ptx "
         "assembly aborted due to errors\n",
         "ptxas application ptx input, line 21; error   : Not a name of any known instruction: 'bogus'", true},
        {"k.cu(1): warning #1-D: out of memory is spelt wrong\nnvrtc: error: invalid value for --gpu-architecture "
         "(-arch)\n",
         "nvrtc: error: invalid value for --gpu-architecture (-arch)", true},
        {"k.cu(9): catastrophic error: #error directive: TILE_N is unset\n",
         "k.cu(9): catastrophic error: #error directive: TILE_N is unset", true},
        /* What NVRTC 13.0 said when the system call, the memory or the disk failed. */
        {"k.cu(1): error: no such type\nptx/wgmma.cuh(147): catastrophic error: out of memory\n  asm volatile\n",
         "ptx/wgmma.cuh(147): catastrophic error: out of memory", false},
        {"k.cu(1): catastrophic error: cannot open source file \"cuda_fp16.h\": Too many open files\n",
         "k.cu(1): catastrophic error: cannot open source file \"cuda_fp16.h\": Too many open files", false},
        {"ptxas fatal   : Memory allocation failure\n", "ptxas fatal   : Memory allocation failure", false},
        {"ptxas fatal   : Ptx assembly aborted due to errors\n", "ptxas fatal   : Ptx assembly aborted due to errors",
         false},
        {"nvrtc: error: failed to open libnvrtc-builtins.so.13.0.\n",
         "nvrtc: error: failed to open libnvrtc-builtins.so.13.0.", false},
        {"  error: the source's own text\n", "  error: the source's own text", false},
        {"", "", false},
        /* To be printed whatever it holds. */
        {"k(1): error: \x1b[1m \xc3\xa9 \xc2\x9b \xff \xed\xa0\x80 \xf0\x9f\x99\x82\t.\r\n",
         "k(1): error: \\x1b[1m \xc3\xa9 \\xc2\\x9b \\xff \\xed\\xa0\\x80 \xf0\x9f\x99\x82\\x09.\\x0d", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct str line = {0};
        const bool verdict = log_is_verdict(cases[i].log, &line);
        assert_string_equal(str_text(&line), cases[i].line);
        if (verdict != cases[i].verdict)
            fail_msg("%s: taken for %s", cases[i].log, verdict ? "the source's fault" : "the machine's");
        str_release(&line);
    }
}

/* What NVRTC opens by name alone is open before it asks: the loader need not know the toolkit's folder. */
static void builtins_are_open(void **state) {
    (void)state;
    struct compiler compiler;
    struct str name = {0};
    if (compiler_find(&compiler) == MT_NO_DEVICE)
        skip();
    assert_true(compiler.version >= 1240);
    str_printf(&name, "libnvrtc-builtins.so.%d.%d", compiler.version / 100, compiler.version / 10 % 10);
    void *open = dlopen(name.data, RTLD_NOW | RTLD_NOLOAD);
    assert_non_null(open);
    dlclose(open);
    str_clear(&name);
    assert_int_equal(nvrtc_describe(&name), MT_OK);
    assert_non_null(strstr(name.data, compiler.library));
    str_release(&name);
}

static int set_up(void **state) {
    (void)state;
    const char *build = getenv("BUILD");
    struct str library = {0};
    log_set_level(LOG_ERROR);
    str_printf(&library, "%s/libsoftgpu.so", build ? build : "build");
    const bool good = mkdtemp(folder) && realpath(library.data, real_library);
    str_release(&library);
    return good ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    struct str command = {0};
    str_printf(&command, "rm -rf %s", folder);
    int result = system(command.data);
    str_release(&command);
    return result;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(builtins_are_open),
        cmocka_unit_test(every_layout),
        cmocka_unit_test(refusals_say_why),
        cmocka_unit_test(verdicts),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
