/* Machine code put together by hand: where its branches lead on each architecture, who may go on behind them, and what
 * is not known. The words are those that ptxas makes; tests/device/test_soft_sass.c has whole kernels. */
#include "runtime/softgpu/profile/sass.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

enum { ALWAYS = 7, IF_P0 = 0, NEVER = 15 };
#define PLAIN_HIGH 0x000fc00003800000ull /* the second predicate of a branch is true */

struct text {
    uint64_t word[64][2];
    int count;
};

static void add(struct text *t, unsigned number, unsigned guard, uint64_t low, uint64_t high) {
    t->word[t->count][0] = number | (uint64_t)guard << 12 | low;
    t->word[t->count++][1] = PLAIN_HIGH | high;
}

/* bra to instruction `to`, as sm_80 and sm_90 write it. */
static void bra(struct text *t, unsigned guard, int to, unsigned cc) {
    const int64_t words = (to - t->count - 1) * 4ll;
    const uint64_t far = (uint64_t)(cc >= 90 ? words >> 8 : words);
    add(t, 0x947, guard, far << 34 | (cc >= 90 ? (uint64_t)(words & 255) << 16 : 0), far >> 30 & 0x3ffff);
}

/* BSSY: its distance is written alike everywhere. */
static void bssy(struct text *t, unsigned barrier, int to) {
    add(t, 0x945, ALWAYS, (uint64_t)((to - t->count - 1) * 4ll) << 34 | barrier << 16, 0);
}

static struct flow read_text(const struct text *t, unsigned cc, unsigned want_unknown) {
    struct flow f;
    unsigned unknown;
    sass_read((const uint8_t *)t->word, (size_t)t->count * 16, cc, &f, &unknown);
    assert_int_equal(unknown, want_unknown);
    assert_int_equal(f.steps, t->count);
    return f;
}

static void test_branches(void **state) {
    (void)state;
    static const unsigned ccs[] = {80, 86, 89, 90, 100, 120};
    for (size_t c = 0; c < sizeof ccs / sizeof *ccs; c++) {
        struct text t = {.count = 0};
        add(&t, 0x210, ALWAYS, 0, 0);
        add(&t, 0x237, ALWAYS, 0, 0); /* IMMA */
        add(&t, 0x83b, ALWAYS, 0, 0); /* LDSM */
        bra(&t, IF_P0, 1, ccs[c]);
        bra(&t, NEVER, 0, ccs[c]); /* @!PT: in the way of nobody; an edge for all that */
        add(&t, 0x94d, ALWAYS, 0, 0);
        bra(&t, ALWAYS, t.count, ccs[c]); /* what stands behind a kernel */
        add(&t, 0x918, ALWAYS, 0, 0);
        add(&t, 0x918, ALWAYS, 0, 0);
        struct flow f = read_text(&t, ccs[c], 0);
        assert_int_equal(f.step[1].pipe, SG_PIPE_TENSOR);
        assert_int_equal(f.step[1].mark, MARK_MMA);
        assert_int_equal(f.step[2].mark, MARK_MATRIX);
        const uint16_t loop = f.step[1].loop;
        assert_int_equal(f.loop[loop].head, 1);
        assert_int_equal(f.loop[loop].each.steps, 3);
        assert_int_equal(f.loop[loop].each.mark[MARK_MMA], 1);
        assert_true(f.step[4].falls && f.step[5].reachable && !f.step[6].reachable && !f.step[8].reachable);
        flow_free(&f);
    }
}

/* A branch over 300 instructions, backwards, has more than 8 bits of words; its second predicate lets it go on. */
static void test_far(void **state) {
    (void)state;
    for (unsigned cc = 80; cc <= 90; cc += 10) {
        static uint8_t code[400 * 16];
        struct text t = {.count = 0};
        memset(code, 0, sizeof code);
        for (int k = 0; k < 400; k++) {
            const uint64_t nop = 0x918 | ALWAYS << 12;
            memcpy(code + (size_t)k * 16, &nop, sizeof nop);
        }
        const int64_t words = (20 - 321) * 4;
        const uint64_t far = (uint64_t)(cc >= 90 ? words >> 8 : words);
        add(&t, 0x947, ALWAYS, far << 34 | (cc >= 90 ? (uint64_t)(words & 255) << 16 : 0), far >> 30 & 0x3ffff);
        t.word[0][1] &= ~(7ull << 23); /* P0 */
        memcpy(code + (size_t)320 * 16, t.word[0], 16);
        struct flow f;
        unsigned unknown;
        sass_read(code, sizeof code, cc, &f, &unknown);
        assert_int_equal(f.loops, 2);
        assert_int_equal(f.loop[1].head, 20);
        assert_int_equal(f.loop[1].each.steps, 301);
        assert_true(f.step[399].reachable);
        flow_free(&f);
    }
}

/* BSYNC goes where BSSY said, also from code that stands elsewhere; what is said of one barrier holds for it alone. */
static void test_convergence(void **state) {
    (void)state;
    struct text t = {.count = 0};
    bssy(&t, 1, 5);
    bssy(&t, 0, 4);
    bra(&t, IF_P0, 7, 80);
    add(&t, 0x941, ALWAYS, 0, 0); /* BSYNC B0: to 4 */
    add(&t, 0x941, ALWAYS, 1 << 16, 0);
    add(&t, 0x210, ALWAYS, 0, 0);
    add(&t, 0x94d, ALWAYS, 0, 0);
    add(&t, 0x308, ALWAYS, 0, 0); /* MUFU, behind the end */
    add(&t, 0x941, ALWAYS, 0, 0);
    struct flow f = read_text(&t, 80, 0);
    bool back = false;
    for (size_t e = 0; e < f.edges; e++) {
        back |= f.edge[e].from == 8 && f.edge[e].to == 4;
        assert_true(f.edge[e].from != 4 || f.edge[e].to == 5);
    }
    assert_true(back);
    assert_int_equal(f.loops, 1);
    assert_int_equal(f.loop[0].each.steps, 9);
    flow_free(&f);
}

static void test_unknown(void **state) {
    (void)state;
    struct text t = {.count = 0};
    add(&t, 0x1ff, ALWAYS, 0, 0);
    add(&t, 0x210, ALWAYS, 0, 0);
    add(&t, 0x018, ALWAYS, 0, 0);
    add(&t, 0x94d, ALWAYS, 0, 0);
    struct flow f = read_text(&t, 80, 2);
    assert_int_equal(f.loop[0].each.steps, 4); /* each takes a slot */
    assert_int_equal(f.loop[0].each.pipe[SG_PIPE_ALU], 1);
    flow_free(&f);
    assert_null(sass_name(0x1ff));
    assert_string_equal(sass_name(0xa10), "IADD3");
    /* Branches that lead out of the code, and half an instruction at its end, are nothing. */
    t.count = 0;
    bra(&t, IF_P0, 50, 80);
    bra(&t, IF_P0, -3, 90);
    bssy(&t, 3, 99);
    add(&t, 0x941, ALWAYS, 3 << 16, 0);
    unsigned unknown;
    sass_read((const uint8_t *)t.word, 4 * 16 + 8, 90, &f, &unknown);
    assert_int_equal(f.steps, 4);
    assert_int_equal(f.edges, 0);
    flow_free(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_branches), cmocka_unit_test(test_far),
                                       cmocka_unit_test(test_convergence), cmocka_unit_test(test_unknown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
