/* The order in which kernels add up: equal trees cut K at the same places, and other ones do not. */
#include "config_of.h"

enum { MOST_PARTS = 64 };

/* steps_of() of templates/tile/schedule.cuh: where parts end, in features, of a K that may end within a step. */
static int ends_of(int steps, int step, int parts, int k, int *end) {
    for (int i = 0; i < parts; i++) {
        const int least = steps / parts, more = steps - least * parts;
        const int begin = i * least + (i < more ? i : more), to = (begin + least + (i < more)) * step;
        end[i] = to < k ? to : k;
    }
    return parts;
}

static void trees_are_where_k_is_cut(void **state) {
    (void)state;
    static const int sizes[] = {64, 128, 256};
    for (int k = 128; k <= 2560; k += 128)
        for (int a = 0; a < 9; a++)
            for (int pa = 1; pa <= 12; pa++)
                for (int pb = 1; pb <= 12; pb++) {
                    const int xa = sizes[a / 3], xb = sizes[a % 3], sa = (k + xa - 1) / xa, sb = (k + xb - 1) / xb;
                    int ea[MOST_PARTS], eb[MOST_PARTS];
                    const struct sum_tree ta = sum_tree_of(sa, xa, pa, 1), tb = sum_tree_of(sb, xb, pb, 1);
                    assert_true((ta.parts > 0) == (pa <= sa));
                    if (pa > sa || pb > sb)
                        continue;
                    const bool same = ends_of(sa, xa, pa, k, ea) == ends_of(sb, xb, pb, k, eb) &&
                                      !memcmp(ea, eb, sizeof *ea * (size_t)pa);
                    assert_int_equal(sum_tree_equal(&ta, &tb), same);
                    assert_int_equal(sum_tree_in_order(&ta), pa == 1);
                }
}

static void says(const char *family, const char *config, int k, const char *words) {
    const struct config c = config_of(family, config);
    const struct problem p = {.m = 100, .n = 300, .k = k, .group = 128};
    struct launch_shape shape;
    struct str text = {0};
    c.family->shape(&c, &p, 4, &shape);
    sum_tree_format(&shape.sums, &text);
    assert_string_equal(str_text(&text), words);
    str_release(&text);
}

static void kernels_say_how_they_add_up(void **state) {
    (void)state;
    says("sm80", "", 1500, "in order");
    says("sm80", "split_k=4", 1500, "in 4 parts of 384");
    says("sm90", "cluster_k=4", 1500, "in 4 parts of 384");
    says("sm90", "split_k=4,tile_k=256", 1500, "in 4 parts, 2 of 512 and then of 256");
    says("sm80", "split_k=2", 610, "in 2 parts of 384");
    says("sm90", "pingpong=1,cluster=2", 1500, "in order");
    says("sm90", "stream_k=2", 1500, "in no fixed order");
    /* Who begins a tile is the consumer behind the last one of the tile before: with two it is no difference. */
    says("sm90", "share_k=1", 1500, "in 2 turns of 128");
    says("sm90", "share_k=1,split_k=2", 1500, "in 2 parts of 768, each in 2 turns of 128");
    says("sm90", "share_k=1,split_k=3,tile_k=256", 700, "in 3 parts of 256, each in 2 turns of 256");
    says("sm90", "share_k=1,consumers=3,stages=6", 1500, "in 3 turns of 128");
    says("sm90", "share_k=1,consumers=3,stages=6,split_k=2", 1500, "in 2 parts of 768, each in 3 turns of 128");
    says("sm90", "share_k=1,consumers=3,stages=6,split_k=4", 1400, "in no fixed order");
    says("sm90", "share_k=1,consumers=3,stages=6", 1600, "in no fixed order");
    says("sm80", "split_k=7", 300, "in no fixed order"); /* is refused */
}

static void none_is_like_no_tree(void **state) {
    (void)state;
    const struct sum_tree none = {0}, order = sum_tree_of(8, 128, 1, 1), turns = sum_tree_of(8, 128, 1, 2),
                          longer = sum_tree_of(4, 256, 1, 2);
    assert_false(sum_tree_equal(&none, &none));
    assert_true(sum_tree_equal(&turns, &turns));
    assert_false(sum_tree_equal(&turns, &order));
    assert_false(sum_tree_equal(&turns, &longer));
    assert_false(sum_tree_in_order(&turns));
    assert_false(sum_tree_in_order(&none));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trees_are_where_k_is_cut),
        cmocka_unit_test(kernels_say_how_they_add_up),
        cmocka_unit_test(none_is_like_no_tree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
