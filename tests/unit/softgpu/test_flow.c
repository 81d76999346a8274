/* Loops of code: those of programs made at random, whose loops are known, and the shapes that compilers make. */
#include "runtime/softgpu/profile/flow.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

static struct flow_step plain(unsigned mark) {
    return (struct flow_step){.pipe = SG_PIPE_ALU, .mark = (uint8_t)mark, .falls = true};
}

static void steps(struct flow *f, int count) {
    for (int k = 0; k < count; k++)
        flow_add_step(f, plain(MARK_NONE));
}

/* ---- by hand ---- */

/* 0 1 2 [3 4 [5 6] 7] 8: a loop in a loop. */
static void test_nested(void **state) {
    (void)state;
    struct flow f = {0};
    steps(&f, 9);
    flow_add_edge(&f, 6, 5);
    flow_add_edge(&f, 7, 3);
    f.step[5].mark = MARK_MMA;
    f.step[4].pipe = SG_PIPE_XU;
    flow_find_loops(&f);
    assert_int_equal(f.loops, 3);
    const uint16_t inner = f.step[5].loop, outer = f.step[3].loop;
    assert_int_equal(f.step[6].loop, inner);
    assert_int_equal(f.step[4].loop, outer);
    assert_int_equal(f.step[7].loop, outer);
    assert_int_equal(f.step[0].loop, 0);
    assert_int_equal(f.step[8].loop, 0);
    assert_int_equal(f.loop[inner].parent, outer);
    assert_int_equal(f.loop[outer].parent, 0);
    assert_int_equal(f.loop[inner].depth, 2);
    assert_int_equal(f.loop[inner].head, 5);
    assert_int_equal(f.loop[inner].each.steps, 2);
    assert_int_equal(f.loop[inner].each.mark[MARK_MMA], 1);
    assert_int_equal(f.loop[outer].each.steps, 3);
    assert_int_equal(f.loop[outer].each.pipe[SG_PIPE_XU], 1);
    assert_int_equal(f.loop[outer].each.pipe[SG_PIPE_ALU], 2);
    assert_int_equal(f.loop[0].each.steps, 4);
    flow_free(&f);
}

/* What is seldom done stands behind the end of the kernel and jumps back: no loop, though the jump goes backwards; the
 * wait that stands there is one. 0 1 2 3 end | 5 [6] 7 -> 2 */
static void test_out_of_line(void **state) {
    (void)state;
    struct flow f = {0};
    steps(&f, 8);
    f.step[4].falls = false;
    f.step[7].falls = false;
    flow_add_edge(&f, 1, 5);
    flow_add_edge(&f, 6, 6);
    flow_add_edge(&f, 7, 2);
    flow_find_loops(&f);
    assert_int_equal(f.loops, 2);
    for (int k = 0; k < 8; k++)
        assert_int_equal(f.step[k].loop, k == 6);
    flow_free(&f);
}

/* Two ways back to one head are one loop; a way into the middle makes none; what nothing leads to counts, but filler
 * does not. */
static void test_shapes(void **state) {
    (void)state;
    struct flow f = {0};
    steps(&f, 6);
    flow_add_edge(&f, 2, 1);
    flow_add_edge(&f, 4, 1);
    flow_find_loops(&f);
    assert_int_equal(f.loops, 2);
    assert_int_equal(f.loop[1].each.steps, 2); /* 1 and 2; 3 and 4 only where the first way is not taken */
    assert_int_equal(f.loop[1].some.steps, 2);
    assert_true(f.step[1].always && f.step[2].always && !f.step[3].always && !f.step[4].always);
    flow_free(&f);

    steps(&f, 6);
    flow_add_edge(&f, 0, 3); /* beside the head */
    flow_add_edge(&f, 4, 2);
    flow_find_loops(&f);
    assert_int_equal(f.loops, 1);
    flow_free(&f);

    steps(&f, 8);
    f.step[2].falls = false;
    f.step[5].falls = false;
    f.step[6].filler = f.step[7].filler = true;
    flow_add_edge(&f, 4, 3);
    flow_find_loops(&f);
    assert_int_equal(f.loops, 2); /* 3 4 are a function that is called */
    assert_int_equal(f.loop[0].each.steps, 4);
    assert_int_equal(f.loop[1].each.steps, 2);
    assert_false(f.step[6].reachable || f.step[7].reachable);
    flow_free(&f);

    flow_find_loops(&f); /* no code at all */
    assert_int_equal(f.loops, 1);
    flow_free(&f);
}

/* ---- at random ---- */

enum { MOST = 4000 };
struct program {
    struct flow flow;
    int in[MOST]; /* the loop of each step, as it was made */
    int parent[MOST];
    int loops;
    unsigned random;
};

static unsigned draw(struct program *p, unsigned below) {
    p->random = p->random * 1103515245u + 12345u;
    return (p->random >> 16) % below;
}

static uint32_t emit(struct program *p, int loop) {
    p->in[p->flow.steps] = loop;
    flow_add_step(&p->flow, plain(MARK_NONE));
    return (uint32_t)p->flow.steps - 1;
}

/* A sequence of plain steps, branches around code, loops that are tested at their end or at their head, with ways out
 * and ways on from their middle. */
static void make(struct program *p, int loop, int depth) {
    for (unsigned parts = 1 + draw(p, 4); parts > 0 && p->flow.steps < MOST - 64; parts--) {
        const unsigned kind = depth < 6 ? draw(p, 4) : 0;
        const uint32_t begin = emit(p, loop);
        if (kind == 1) { /* if, perhaps with else */
            make(p, loop, depth + 1);
            const uint32_t jump = emit(p, loop);
            if (draw(p, 2)) {
                p->flow.step[jump].falls = false;
                flow_add_edge(&p->flow, begin, jump + 1);
                make(p, loop, depth + 1);
                flow_add_edge(&p->flow, jump, emit(p, loop));
            } else {
                flow_add_edge(&p->flow, begin, jump);
            }
        } else if (kind >= 2) {
            const int own = ++p->loops;
            p->parent[own] = loop;
            const uint32_t head = emit(p, own), leave = emit(p, own);
            make(p, own, depth + 1);
            const uint32_t again = emit(p, own);
            make(p, own, depth + 1);
            const uint32_t back = emit(p, own);
            flow_add_edge(&p->flow, back, head);
            if (draw(p, 2))
                flow_add_edge(&p->flow, again, head);
            if (draw(p, 2))
                p->flow.step[back].falls = false;
            flow_add_edge(&p->flow, leave, emit(p, loop));
        }
    }
}

static void test_random(void **state) {
    (void)state;
    static struct program p;
    size_t deepest = 0, all = 0;
    for (unsigned seed = 1; seed <= 300; seed++) {
        memset(&p, 0, sizeof p);
        p.random = seed * 7919u;
        make(&p, 0, 0);
        emit(&p, 0);
        flow_find_loops(&p.flow);
        assert_int_equal(p.flow.loops, p.loops + 1);
        int as[MOST]; /* numbers that were found, of loops as they were made */
        memset(as, -1, sizeof as);
        for (size_t s = 0; s < p.flow.steps; s++) {
            if (as[p.in[s]] < 0)
                as[p.in[s]] = p.flow.step[s].loop;
            if (as[p.in[s]] != p.flow.step[s].loop)
                fail_msg("seed %u: step %zu is in loop %u, not %d", seed, s, p.flow.step[s].loop, as[p.in[s]]);
        }
        for (int l = 1; l <= p.loops; l++) {
            assert_int_equal(p.flow.loop[as[l]].parent, as[p.parent[l]]);
            deepest = p.flow.loop[as[l]].depth > deepest ? p.flow.loop[as[l]].depth : deepest;
        }
        all += p.flow.loops;
        flow_free(&p.flow);
    }
    assert_true(deepest >= 5 && all > 3000);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_nested), cmocka_unit_test(test_out_of_line),
                                       cmocka_unit_test(test_shapes), cmocka_unit_test(test_random)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
