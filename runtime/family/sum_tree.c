#include "sum_tree.h"

struct sum_tree sum_tree_of(int steps, int step, int parts, int turns) {
    if (parts < 1 || parts > steps)
        return (struct sum_tree){0};
    const int least = steps / parts, longer = steps % parts;
    struct sum_tree tree = {.parts = parts, .turns = turns, .step = turns > 1 ? step : 0};
    if (turns > 2 && (longer || least % turns))
        return (struct sum_tree){0};
    if (parts == 1)
        return tree;
    tree.first = (least + (longer > 0)) * step;
    tree.firsts = longer > 0 ? longer : parts - 1;
    tree.rest = tree.firsts < parts - 1 ? least * step : 0;
    return tree;
}

bool sum_tree_equal(const struct sum_tree *a, const struct sum_tree *b) {
    return a->parts > 0 && a->parts == b->parts && a->first == b->first && a->firsts == b->firsts &&
           a->rest == b->rest && a->turns == b->turns && a->step == b->step;
}

bool sum_tree_in_order(const struct sum_tree *tree) {
    return tree->parts == 1 && tree->turns == 1;
}

void sum_tree_format(const struct sum_tree *tree, struct str *out) {
    if (tree->parts == 0)
        str_append(out, "in no fixed order");
    else if (sum_tree_in_order(tree))
        str_append(out, "in order");
    else if (tree->rest)
        str_printf(out, "in %d parts, %d of %d and then of %d", tree->parts, tree->firsts, tree->first, tree->rest);
    else if (tree->parts > 1)
        str_printf(out, "in %d parts of %d", tree->parts, tree->first);
    if (tree->turns > 1)
        str_printf(out, "%sin %d turns of %d", tree->parts > 1 ? ", each " : "", tree->turns, tree->step);
}
