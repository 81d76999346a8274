/* Marking multiply-adds in machine code (yield.h): only they change, only in the bits that it is about, and only
 * once. */
#include "runtime/base/str.h"
#include "runtime/jit/compiler.h"
#include "runtime/jit/yield.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

/* Runs of independent multiply-adds, and other arithmetic between them. */
static const char source[] = "extern \"C\" __global__ void f(float *x, float a, float b) {\n"
                             "    float v[32];\n"
                             "    for (int i = 0; i < 32; i++) v[i] = x[threadIdx.x + 32 * i];\n"
                             "    for (int i = 0; i < 32; i++) v[i] = v[i] * a + b;\n"
                             "    for (int i = 0; i < 32; i++) v[i] = __fmaf_rn(v[i], v[(i + 1) % 32], a);\n"
                             "    for (int i = 0; i < 32; i++) x[threadIdx.x + 32 * i] = v[i];\n"
                             "}\n";

static void cubin_of(const char *arch, struct str *cubin) {
    struct str ptx = {0};
    if (compiler_run("k.cu", source, arch, NULL, 0, cubin, &ptx, NULL))
        fail_msg("%s", fail_message());
    str_release(&ptx);
}

static uint64_t word(const char *at) {
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static void marks(void **state) {
    (void)state;
    struct str cubin = {0};
    int marked, again, changed = 0;
    cubin_of("sm_90a", &cubin);
    char *before = xmalloc(cubin.length);
    memcpy(before, cubin.data, cubin.length);
    assert_int_equal(yield_between_ffma(cubin.data, cubin.length, &marked), MT_OK);
    for (size_t at = 0; at + 16 <= cubin.length; at += 8) {
        const uint64_t was = word(before + at + 8), is = word(cubin.data + at + 8);
        if (was == is || word(before + at) != word(cubin.data + at))
            continue;
        assert_int_equal(word(before + at) & 0xfff, 0x223); /* FFMA */
        assert_true(was >> 45 & 1 && !(is >> 45 & 1));      /* stays, then does not */
        assert_int_equal((was ^ is) & ~(1ull << 45 | 15ull << 58), 0);
        assert_int_equal(is >> 58 & 15, 0); /* nothing is kept */
        changed++;
    }
    assert_true(changed >= 16);
    assert_int_equal(changed, marked);
    assert_int_equal(yield_between_ffma(cubin.data, cubin.length, &again), MT_OK);
    assert_int_equal(again, 0);
    free(before);
    str_release(&cubin);
}

static void refuses(void **state) {
    (void)state;
    struct str cubin = {0};
    int marked;
    char text[] = "this is no machine code, and long enough to be taken for a header of sixty-four bytes";
    assert_int_equal(yield_between_ffma(text, sizeof text, &marked), MT_FAILURE);
    assert_int_equal(marked, 0);
    cubin_of("sm_90a", &cubin);
    for (size_t size = 0; size < cubin.length; size += cubin.length / 7 + 1) {
        char *part = xmalloc(size + 1);
        memcpy(part, cubin.data, size);
        assert_int_equal(yield_between_ffma(part, size, &marked), MT_FAILURE);
        free(part);
    }
    str_release(&cubin);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(marks),
        cmocka_unit_test(refuses),
    };
    return cmocka_run_group_tests_name("yield", tests, NULL, NULL);
}
