/* What ranks have of a layer, how many features are chosen, and which. */
#include "runtime/base/str.h"
#include "tuner/choice/choice.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { HEADS = 8, KV = 2, HEAD = 3, LAYERS = 4, RANKS = 4 };
static const struct model model = {.heads = HEADS, .kv_heads = KV};

/* q, k and v of 24, 6 and 6 features; o; gate and up of 20; down. */
static const struct module separate[] = {
    {"layers.0.self_attn.q_proj", 24, 16}, {"layers.0.self_attn.k_proj", 6, 16}, {"layers.0.self_attn.v_proj", 6, 16},
    {"layers.0.self_attn.o_proj", 16, 24}, {"layers.0.mlp.gate_proj", 20, 16},   {"layers.0.mlp.up_proj", 20, 16},
    {"layers.0.mlp.down_proj", 16, 20},
};
static const struct module fused[] = {
    {"layers.0.self_attn.qkv_proj", 36, 16},
    {"layers.0.self_attn.o_proj", 16, 24},
    {"layers.0.mlp.gate_up_proj", 40, 16},
    {"layers.0.mlp.down_proj", 16, 20},
};

struct fixture {
    const struct module *module;
    struct modules modules;
    struct cut cut[RANKS][LAYERS];
    struct choice_order order;
};

static void set_up(struct fixture *f, const struct module *module, int count, int tp) {
    *f = (struct fixture){.module = module};
    assert_int_equal(modules_find(module, count, &f->modules), MT_OK);
    assert_int_equal(f->modules.count, LAYERS);
    for (int rank = 0; rank < tp; rank++)
        for (int i = 0; i < LAYERS; i++)
            assert_int_equal(cut_layer(f->module, &f->modules.layer[i], &model, tp, rank, &f->cut[rank][i]), MT_OK);
    choice_order_init(&f->modules, NULL, &f->order);
}

/* An order of all features as saliences would give it. */
static void put_in_order(struct choice_order *order) {
    order->order = xcalloc(order->total, sizeof *order->order);
    order->place = xcalloc(order->total, sizeof *order->place);
    for (size_t i = 0; i < order->total; i++)
        order->order[i] = (uint32_t)(i * 37 % order->total); /* of 108 features: 37 has no divisor in common */
    for (size_t i = 0; i < order->total; i++)
        order->place[order->order[i]] = (uint32_t)i;
}

static void tear_down(struct fixture *f) {
    choice_order_release(&f->order);
    modules_release(&f->modules);
}

static void ranks_have_heads(void **state) {
    (void)state;
    struct fixture f, g;
    set_up(&f, separate, 7, 4);
    set_up(&g, fused, 4, 4);
    for (int rank = 0; rank < 4; rank++) {
        /* Two heads of q; 4 ranks share 2 heads of k and v. */
        const int first[] = {rank * 2 * HEAD, HEADS * HEAD + rank / 2 * HEAD, (HEADS + KV) * HEAD + rank / 2 * HEAD};
        const int rows[] = {2 * HEAD, HEAD, HEAD};
        for (int i = 0, at = 0; i < 3; at += rows[i++])
            for (int j = 0; j < rows[i]; j++) {
                assert_int_equal(cut_feature(&f.cut[rank][0], at + j), first[i] + j);
                assert_int_equal(cut_feature(&g.cut[rank][0], at + j), first[i] + j);
            }
        assert_int_equal(f.cut[rank][0].n, 4 * HEAD);
        assert_int_equal(f.cut[rank][0].piece[2].part, 2);
        assert_int_equal(f.cut[rank][0].piece[2].first, rank / 2 * HEAD);
        assert_int_equal(g.cut[rank][0].piece[2].part, 0);
        for (int i = 0; i < 10; i++) {
            const int whole = i < 5 ? rank * 5 + i : 20 + rank * 5 + i - 5;
            assert_int_equal(cut_feature(&f.cut[rank][2], i), whole);
            assert_int_equal(cut_feature(&g.cut[rank][2], i), whole);
        }
        assert_int_equal(f.cut[rank][1].n, 16);
        assert_int_equal(f.cut[rank][1].k, 6);
        assert_int_equal(f.cut[rank][1].first_k, 6 * rank);
        assert_int_equal(f.cut[rank][3].first_k, 5 * rank);
    }
    struct cut cut;
    const struct {
        int layer, tp;
        const char *words;
    } wrong[] = {{0, 3, "8 heads of layers.0.self_attn.q_proj"},
                 {1, 5, "24 input features"},
                 {2, 8, "20 features of layers.0.mlp.gate_proj"}};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(cut_layer(f.module, &f.modules.layer[wrong[i].layer], &model, wrong[i].tp, 0, &cut), MT_USAGE);
        assert_non_null(strstr(fail_message(), wrong[i].words));
    }
    const struct model other = {.heads = 7, .kv_heads = 7};
    assert_int_equal(cut_layer(f.module, &f.modules.layer[0], &other, 7, 0, &cut), MT_USAGE);
    assert_non_null(strstr(fail_message(), "no whole heads of 7"));
    tear_down(&f);
    tear_down(&g);
}

static void shares_are_of_the_model_or_of_each_layer(void **state) {
    (void)state;
    struct fixture f;
    int count[LAYERS];
    set_up(&f, separate, 7, 1);
    put_in_order(&f.order);
    assert_int_equal(f.order.total, 108); /* 36 + 16 + 40 + 16 */
    choice_share(&f.order, (struct scheme){.per_mille = 125}, true, count);
    assert_int_equal(count[0], 5); /* 4.5 */
    assert_int_equal(count[1], 2);
    assert_int_equal(count[2], 5);
    choice_share(&f.order, (struct scheme){.per_mille = 125}, false, count);
    int expected[LAYERS] = {0};
    for (int i = 0; i < 13; i++) { /* floor(13.5) */
        const uint32_t feature = f.order.order[i];
        expected[feature < 36 ? 0 : feature < 52 ? 1 : feature < 92 ? 2 : 3]++;
    }
    assert_memory_equal(count, expected, sizeof count);
    choice_share(&f.order, (struct scheme){.per_mille = 1000}, false, count);
    assert_int_equal(count[3], 16);
    tear_down(&f);
}

/* The same number in every rank, of each its own most salient; nothing is dealt where the inputs are cut. */
static void ranks_keep_equal_numbers(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f, separate, 7, 4);
    put_in_order(&f.order);
    const struct fused *gate_up = &f.modules.layer[2], *qkv = &f.modules.layer[0];
    assert_int_equal(choice_rank_count(&f.modules.layer[3], &f.cut[0][3], 7), 7);
    assert_int_equal(choice_rank_count(gate_up, &f.cut[0][2], 0), 0);
    assert_int_equal(choice_rank_count(gate_up, &f.cut[0][2], 9), 3);
    assert_int_equal(choice_rank_count(gate_up, &f.cut[0][2], 40), 10);
    /* Its heads of k and v are two ranks': 12 features of 36 are a third, not a quarter. */
    assert_int_equal(choice_rank_count(qkv, &f.cut[0][0], 12), 4);
    assert_int_equal(choice_rank_count(qkv, &f.cut[0][0], 36), 12);
    for (int rank = 0; rank < 4; rank++) {
        uint8_t is8[10] = {0};
        int chosen = 0;
        choice_features(&f.order, 2, &f.cut[rank][2], 3, NULL, is8);
        for (int i = 0; i < 10; i++) {
            int better = 0;
            for (int j = 0; j < 10; j++)
                better += f.order.place[52 + cut_feature(&f.cut[rank][2], j)] <
                          f.order.place[52 + cut_feature(&f.cut[rank][2], i)];
            assert_int_equal(is8[i], better < 3);
            chosen += is8[i];
        }
        assert_int_equal(chosen, 3);
    }
    tear_down(&f);
}

static void without_saliences_errors_choose(void **state) {
    (void)state;
    struct fixture f;
    const double error[10] = {1, 5, 0, 5, 2, 5, 0, 0, 9, 1};
    const uint8_t expected[10] = {0, 1, 0, 1, 0, 0, 0, 0, 1, 0}; /* of equals the first */
    uint8_t is8[10] = {0};
    set_up(&f, separate, 7, 4);
    choice_features(&f.order, 2, &f.cut[0][2], 3, error, is8);
    assert_memory_equal(is8, expected, sizeof is8);
    tear_down(&f);
}

static size_t bytes_of(const struct fixture *f, const struct choice_sizes *sizes, size_t length) {
    int count[LAYERS] = {0};
    size_t bytes = 0;
    for (size_t i = 0; i < length; i++) {
        const uint32_t feature = f->order.order[i];
        count[feature < 36 ? 0 : feature < 52 ? 1 : feature < 92 ? 2 : 3]++;
    }
    for (int i = 0; i < LAYERS; i++)
        bytes += choice_layer_bytes(sizes, i, count[i]);
    return bytes;
}

static void the_most_that_fits(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f, separate, 7, 1);
    put_in_order(&f.order);
    const struct choice_sizes sizes = {&f.modules, f.cut[0], 1, 128, 1, false};
    const size_t least = bytes_of(&f, &sizes, 0), most = bytes_of(&f, &sizes, f.order.total);
    assert_int_equal(choice_weights(&sizes), 36 * 16 + 16 * 24 + 40 * 16 + 16 * 20);
    /* 48 rows of 4 bits, Kp 128, with a scale and a zero point each. */
    assert_int_equal(choice_layer_bytes(&sizes, 0, 0), 48 * (64 + 3));
    /* 16 of 8 bits and 48 of 4, and 36 columns. */
    assert_int_equal(choice_layer_bytes(&sizes, 0, 1), 16 * (128 + 2) + 48 * (64 + 3) + 36 * 4);
    assert_int_equal(choice_layer_bytes(&sizes, 0, 36), 48 * (128 + 2));
    int per_mille, fitting = 0;
    for (size_t bytes = least; bytes <= most; bytes += 97) {
        int count[LAYERS];
        size_t longest = 0, chosen = 0;
        for (size_t i = 0; i <= f.order.total; i++)
            longest = bytes_of(&f, &sizes, i) <= bytes ? i : longest;
        assert_int_equal(choice_fit(&f.order, &sizes, false, bytes, false, count, &per_mille), MT_OK);
        for (int i = 0; i < LAYERS; i++)
            chosen += (size_t)count[i];
        assert_int_equal(chosen, longest);
        fitting += longest > 0 && longest < f.order.total;

        assert_int_equal(choice_fit(&f.order, &sizes, true, bytes, false, count, &per_mille), MT_OK);
        for (int above = per_mille; above <= 1000; above++) {
            int other[LAYERS];
            size_t size = 0;
            choice_share(&f.order, (struct scheme){.per_mille = above}, true, other);
            for (int i = 0; i < LAYERS; i++)
                size += choice_layer_bytes(&sizes, i, other[i]);
            assert_true(above == per_mille ? size <= bytes && !memcmp(count, other, sizeof count) : size > bytes);
        }
    }
    assert_true(fitting > 10);
    int count[LAYERS];
    assert_int_equal(choice_fit(&f.order, &sizes, false, least - 1, false, count, &per_mille), MT_USAGE);
    assert_int_equal(choice_fit(&f.order, &sizes, true, most + 1, true, count, &per_mille), MT_USAGE);
    assert_non_null(strstr(fail_message(), "bits per weight where all features have 4 bits"));
    tear_down(&f);
}

/* The largest first, and of equals the first; every feature once. */
static void saliences_put_features_in_order(void **state) {
    (void)state;
    struct fixture f;
    struct choice_order order;
    float salience[108];
    set_up(&f, separate, 7, 1);
    for (int i = 0; i < 108; i++)
        salience[i] = (float)(i * 37 % 9);
    choice_order_init(&f.modules, salience, &order);
    assert_int_equal(order.layers, LAYERS);
    assert_int_equal(order.total, 108);
    for (size_t i = 0; i < order.total; i++) {
        size_t before = 0;
        for (size_t j = 0; j < order.total; j++)
            before += salience[j] > salience[i] || (salience[j] == salience[i] && j < i);
        assert_int_equal(order.place[i], before);
        assert_int_equal(order.order[before], i);
    }
    choice_order_release(&order);
    tear_down(&f);
}

/* What is marked is what choice_features() would choose of each layer. */
static void marks_are_the_first_of_each_layer(void **state) {
    (void)state;
    struct fixture f;
    struct amount_options amount = {0};
    set_up(&f, separate, 7, 1);
    put_in_order(&f.order);
    const struct choice_sizes sizes = {&f.modules, f.cut[0], 1, 128, 1, false};
    assert_int_equal(amount_add_schemes("w4a8,p12.5-sym,p50,w8a8", &amount), MT_OK);
    assert_int_equal(amount_check(&amount), MT_OK);
    for (int i = 0; i < 8; i++) {
        struct choice choice;
        uint8_t is8[108], expected[108] = {0};
        amount.uniform = i >= 4;
        assert_int_equal(choice_make(&f.order, &sizes, &amount, i % 4, &choice), MT_OK);
        assert_string_equal(choice.name, amount.scheme[i % 4].name);
        assert_int_equal(choice.symmetric, i % 4 == 1);
        choice_mark(&f.order, choice.count, is8);
        for (int layer = 0; layer < LAYERS; layer++)
            choice_features(&f.order, layer, &f.cut[0][layer], choice.count[layer], NULL,
                            expected + f.order.first[layer]);
        assert_memory_equal(is8, expected, sizeof is8);
        free(choice.count);
    }
    amount.bits = 5;
    assert_int_equal(amount_check(&amount), MT_USAGE);
    tear_down(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_have_heads),
        cmocka_unit_test(shares_are_of_the_model_or_of_each_layer),
        cmocka_unit_test(ranks_keep_equal_numbers),
        cmocka_unit_test(without_saliences_errors_choose),
        cmocka_unit_test(the_most_that_fits),
        cmocka_unit_test(saliences_put_features_in_order),
        cmocka_unit_test(marks_are_the_first_of_each_layer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
