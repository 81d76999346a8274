/* What libFuzzer gives is read as a space or, where its first byte is even, as a table of splits. */
#include "given.h"
#include "runtime/layer/problem.h"
#include "tuner/plan/space.h"
#include "tuner/splits.h"

enum { MOST_SIZE = 4096, FEW_SPLITS = 200 };

static void read_space(const char *path) {
    struct space space;
    struct config_list list;
    if (!given_good(space_read(path, &space)))
        return;
    const long size = space_size(&space);
    space_release(&space);
    if (size < 1)
        abort();
    if (size > MOST_SIZE || !given_good(config_list_read(path, &list)))
        return;
    struct str text = {0};
    for (int i = 0; i < list.count; i++) {
        struct config again;
        str_clear(&text);
        config_format(&list.config[i], &text);
        if (config_parse(list.config[i].family, text.data, &again) || !config_equal(&again, &list.config[i]))
            abort();
    }
    str_release(&text);
    config_list_release(&list);
}

static void choose(const struct problem *layer, const struct split_list *splits) {
    int stands[FEW_SPLITS];
    if (splits->count == 0 || splits->count > FEW_SPLITS)
        return;
    points_choose(layer, splits->item, splits->count, 3, stands);
    for (int i = 0; i < splits->count; i++)
        if (stands[i] >= splits->count)
            abort();
}

static void read_splits(const char *path) {
    const struct problem layer = {.m = 1, .n = 6144, .k = 4096, .group = 128};
    struct split_table table;
    if (!given_good(split_table_read(path, &table)))
        return;
    for (int fill = 1; fill <= 16; fill *= 16) {
        struct split_list splits = {0};
        if (given_good(split_table_of(&table, table.line[0].layer, layer.n, fill, &splits)))
            choose(&layer, &splits);
        split_list_release(&splits);
    }
    split_table_release(&table);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0)
        return 0;
    (data[0] % 2 ? read_space : read_splits)(given_file(data + 1, size - 1));
    return 0;
}
