/* One instruction at a time: whether the machine takes it, and with which sentence it refuses it. */
#ifndef TEST_SOFT_FORMS_H
#define TEST_SOFT_FORMS_H

#include "runtime/base/str.h"
#include "world.h"

#define DECLARED                                                                                                       \
    ".version 8.6\n.target sm_90a\n.address_size 64\n"                                                                 \
    ".visible .entry k(.param .u64 in)\n{ .shared .align 128 .b8 buf[1024];\n"                                         \
    ".reg .pred %p<4>; .reg .b16 %h<9>; .reg .b32 %r<20>; .reg .b64 %rd<9>; .reg .b128 %q<2>;\n"                       \
    ".reg .f32 %f<9>; .reg .f64 %d<9>;\n"
enum { AT_LINE = 8 };

struct forms {
    const char *good;
    const char *sentence; /* how the others are refused */
    const char *bad[24];
};

static bool refused; /* by parse_one(): the module is not there */
/* The error of a module with this one instruction, or that the device lacks it; "" if it is taken. */
static inline const char *parse_one(const char *code) {
    static char error[512];
    struct str ptx = {0};
    error[0] = '\0';
    str_printf(&ptx, "%s%s\nret; }\n", DECLARED, code);
    struct sg_module *m = sg_module_parse(ptx.data, ptx.length, error, sizeof error);
    assert_true((m == NULL) == (error[0] != '\0'));
    refused = !m;
    if (m && sg_module_lacks(m, 0))
        snprintf(error, sizeof error, "%s", sg_module_lacks(m, 0));
    sg_module_free(m);
    str_release(&ptx);
    return error;
}

static inline int complain(const char *code, const char *error, const char *want) {
    print_error("'%s' gives '%s', not '%s'\n", code, error, want);
    return 1;
}

static inline int check_bad(const char *code, const char *sentence) {
    char want[512];
    const char *error = parse_one(code);
    snprintf(want, sizeof want, "PTX line %d: %s in '%.*s'", AT_LINE, sentence, (int)strlen(code) - 1, code);
    return strcmp(error, want) ? complain(code, error, want) : 0;
}

static inline void check_forms(const struct forms *forms, size_t count) {
    int wrong = 0;
    for (const struct forms *f = forms; f < forms + count; f++) {
        const char *error = parse_one(f->good);
        wrong += *error ? complain(f->good, error, "nothing") : 0;
        for (size_t k = 0; k < sizeof f->bad / sizeof *f->bad && f->bad[k]; k++)
            wrong += check_bad(f->bad[k], f->sentence) + (refused ? complain(f->bad[k], "no module", "one") : 0);
    }
    assert_int_equal(wrong, 0);
}
#define CHECK(table) check_forms(table, sizeof(table) / sizeof *(table))

#endif
