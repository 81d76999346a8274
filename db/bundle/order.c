#include "bundle.h"
#include <string.h>

static int by_number(int x, int y) {
    return (x > y) - (x < y);
}

int bundle_by_entry(const void *a, const void *b) {
    const struct bundle_entry *x = a, *y = b;
    int order = by_number(x->layer, y->layer);
    order = order ? order : by_number(x->m, y->m);
    return order ? order : by_number((int)x->kind, (int)y->kind);
}

int bundle_by_time(const void *a, const void *b) {
    const struct bundle_time *x = a, *y = b;
    int order = by_number(x->layer, y->layer);
    order = order ? order : by_number(x->m, y->m);
    order = order ? order : strcmp(x->family, y->family);
    return order ? order : strcmp(x->config, y->config);
}

int bundle_by_build(const void *a, const void *b) {
    const struct bundle_build *x = a, *y = b;
    int order = strcmp(x->family, y->family);
    order = order ? order : strcmp(x->config, y->config);
    order = order ? order : strcmp(x->scheme, y->scheme);
    order = order ? order : strcmp(x->dtype, y->dtype);
    return order ? order : by_number(x->group, y->group);
}
