/* Operands of each instruction against its type: every form in the table is tried with a predicate and with registers
 * of 16, 32, 64 and 128 bits at each place. What the table does not have is refused when the module is loaded; an
 * instruction that was let through would read or write beyond its registers. Where ptxas is there, it says the same of
 * the same lines. */
#include "runtime/base/str.h"
#include "world.h"

#include <ctype.h>
#include <unistd.h>

/* Each $ is a place; `widths` has for each of them, in the order of the text, what fits: p h r q o for a predicate and
 * 16, 32, 64 and 128 bits. P H R Q O: ptxas takes it, although nobody writes it, and the device does not. An @ is a
 * register as at the $ before it. */
struct form {
    const char *text, *widths;
};
/* clang-format off */
static const struct form forms[] = {
    /* arithmetic */
    {"abs.s16 $, $;", "h h"},
    {"abs.f64 $, $;", "q q"},
    {"add.s16 $, $, $;", "h h h"},
    {"add.u32 $, $, $;", "r r r"},
    {"add.s64 $, $, 1;", "q q"},
    {"add.f32 $, $, $;", "r r r"},
    {"add.f16x2 $, $, $;", "r r r"},
    {"add.bf16 $, $, $;", "h h h"},
    {"add.u16x2 $, $, $;", "r r r"},
    {"add.cc.u64 $, $, $;", "q q q"},
    {"addc.u32 $, $, $;", "r r r"},
    {"sub.f64 $, $, $;", "q q q"},
    {"subc.cc.s32 $, $, $;", "r r r"},
    {"mul.lo.s16 $, $, $;", "h h h"},
    {"mul.hi.u64 $, $, $;", "q q q"},
    {"mul.wide.u16 $, $, $;", "r h h"},
    {"mul.wide.s32 $, $, $;", "q r r"},
    {"mul.f16 $, $, $;", "h h h"},
    {"mul24.lo.u32 $, $, $;", "r r r"},
    {"mad.lo.s32 $, $, $, $;", "r r r r"},
    {"mad.hi.u16 $, $, $, $;", "h h h h"},
    {"mad.wide.s16 $, $, $, $;", "r h h r"},
    {"mad.wide.u32 $, $, $, $;", "q r r q"},
    {"mad.lo.cc.u64 $, $, $, $;", "q q q q"},
    {"madc.hi.u32 $, $, $, $;", "r r r r"},
    {"mad24.hi.s32 $, $, $, $;", "r r r r"},
    {"fma.rn.f16x2 $, $, $, $;", "r r r r"},
    {"fma.rn.f64 $, $, $, $;", "q q q q"},
    {"sad.u64 $, $, $, $;", "q q q q"},
    {"div.s16 $, $, $;", "h h h"},
    {"div.full.f32 $, $, $;", "r r r"},
    {"rem.u64 $, $, $;", "q q q"},
    {"min.s64 $, $, $;", "q q q"},
    {"max.bf16x2 $, $, $;", "r r r"},
    {"neg.s32 $, $;", "r r"},
    {"copysign.f64 $, $, $;", "q q q"},
    {"rcp.rn.f64 $, $;", "q q"},
    {"sqrt.approx.f32 $, $;", "r r"},
    {"rsqrt.approx.f64 $, $;", "q q"},
    {"ex2.approx.ftz.bf16 $, $;", "h h"},
    {"lg2.approx.f32 $, $;", "r r"},
    {"sin.approx.f32 $, $;", "r r"},
    {"cos.approx.f32 $, $;", "r r"},
    {"tanh.approx.f16 $, $;", "h h"},
    /* bits */
    {"and.b16 $, $, $;", "h h h"},
    {"and.pred $, $, $;", "p p p"},
    {"or.b32 $, $, $;", "r r r"},
    {"xor.b64 $, $, $;", "q q q"},
    {"not.pred $, $;", "p p"},
    {"not.b64 $, $;", "q q"},
    {"cnot.b16 $, $;", "h h"},
    {"shl.b16 $, $, $;", "h h r"},
    {"shl.b64 $, $, $;", "q q r"},
    {"shr.s32 $, $, $;", "r r r"},
    {"shr.u64 $, $, $;", "q q r"},
    {"shf.l.wrap.b32 $, $, $, $;", "r r r r"},
    {"lop3.b32 $, $, $, $, 0x96;", "r r r r"},
    {"lop3.or.b32 $|$, $, $, $, 0x96, $;", "r p r r r p"},
    {"prmt.b32 $, $, $, $;", "r r r r"},
    {"bfe.u64 $, $, $, $;", "q q r r"},
    {"bfi.b64 $, $, $, $, $;", "q q q r r"},
    {"bfind.u64 $, $;", "r q"},
    {"popc.b64 $, $;", "r q"},
    {"clz.b32 $, $;", "r r"},
    {"brev.b64 $, $;", "q q"},
    {"bmsk.clamp.b32 $, $, $;", "r r r"},
    {"szext.wrap.s32 $, $, $;", "r r r"},
    {"fns.b32 $, $, $, $;", "r r r r"},
    /* comparisons */
    {"setp.lt.s16 $, $, $;", "p h h"},
    {"setp.eq.u32 $|$, $, $;", "p p r r"},
    {"setp.ne.and.b64 $, $, $, $;", "p q q p"},
    {"setp.lt.f64 $, $, $;", "p q q"},
    {"setp.gt.f16x2 $|$, $, $;", "p p r r"},
    {"set.lt.u32.f64 $, $, $;", "r q q"},
    {"set.eq.f32.s16 $, $, $;", "r h h"},
    {"set.lt.or.u32.s32 $, $, $, $;", "r r r p"},
    {"set.gt.f16.f16 $, $, $;", "h h h"},
    {"selp.b16 $, $, $, $;", "h h h p"},
    {"selp.f64 $, $, $, $;", "q q q p"},
    {"slct.u64.s32 $, $, $, $;", "q q q r"},
    {"slct.b16.f32 $, $, $, $;", "h h h r"},
    {"testp.finite.f64 $, $;", "p q"},
    /* moves and conversions */
    {"mov.u16 $, $;", "h h"},
    {"mov.b32 $, $;", "r r"},
    {"mov.f64 $, $;", "q q"},
    {"mov.b128 $, {$, $};", "o q q"},
    {"mov.b128 {$, $}, $;", "q q o"},
    {"mov.pred $, $;", "p p"},
    {"mov.b64 $, {$, $};", "q rP rP"},
    {"mov.b64 {$, $, $, $}, $;", "h h h h q"},
    {"mov.b32 {$, $}, $;", "h h r"},
    {"mov.u32 $, %tid.x;", "r"},
    {"mov.u32 $, %clock;", "r"},
    {"mov.u64 $, %clock64;", "q"},
    {"mov.u64 $, buf;", "q"},
    {"cvt.u64.u32 $, $;", "qO rqO"},
    {"cvt.u32.u16 $, $;", "rqO hrqO"},
    {"cvt.s8.s32 $, $;", "hrqO rqO"},
    {"cvt.s16.s8 $, $;", "hrqO hrqO"},
    {"cvt.rn.f32.s32 $, $;", "rqO rqO"},
    {"cvt.rzi.s32.f32 $, $;", "rqO rqO"},
    {"cvt.rzi.u64.f64 $, $;", "qO qO"},
    {"cvt.rn.f16.f32 $, $;", "hrqO rqO"},
    {"cvt.f32.f16 $, $;", "rqO hrqO"},
    {"cvt.f32.bf16 $, $;", "r h"},
    {"cvt.rn.f32.f64 $, $;", "rqO qO"},
    {"cvt.rn.f16x2.f32 $, $, $;", "rQO rQO rQO"},
    {"cvt.rn.bf16x2.f32 $, $, $;", "r r r"},
    {"cvt.rn.satfinite.e4m3x2.f32 $, $, $;", "h r r"},
    {"cvt.rn.f16x2.e5m2x2 $, $;", "r h"},
    {"cvt.rna.tf32.f32 $, $;", "r r"},
    /* memory */
    {"ld.global.u8 $, [%q30];", "hrqO"},
    {"ld.global.s16 $, [%q30];", "hrqO"},
    {"ld.shared.b32 $, [%r30];", "rqO"},
    {"ld.global.f32 $, [%q30];", "rqO"},
    {"ld.global.b64 $, [%q30];", "qO"},
    {"ld.global.v2.b16 {$, @}, [%q30];", "hrqO"},
    {"ld.global.v4.u32 {$, @, @, @}, [%q30];", "rqO"},
    {"ld.global.v2.f64 {$, @}, [%q30];", "qO"},
    {"ld.param.u64 $, [in];", "qO"},
    {"ld.global.u32 %r1, [$];", "rqH"},
    {"ld.shared.u32 %r1, [$+4];", "rqH"},
    {"ldu.global.u32 $, [%q30];", "rqO"},
    {"st.global.u8 [%q30], $;", "hrqO"},
    {"st.shared.b32 [%r30], $;", "rqO"},
    {"st.global.f64 [%q30], $;", "qO"},
    {"st.global.v4.b32 [%q30], {$, @, @, @};", "rqO"},
    {"st.global.L2::cache_hint.u32 [%q30], %r1, $;", "q"},
    {"atom.global.add.u32 $, [%q30], $;", "r r"},
    {"atom.global.add.f64 $, [%q30], $;", "q q"},
    {"atom.global.add.noftz.f16 $, [%q30], $;", "h h"},
    {"atom.shared.cas.b64 $, [%r30], $, $;", "q q q"},
    {"atom.global.cas.b16 $, [%q30], $, $;", "h h h"},
    {"red.global.max.s64 [%q30], $;", "q"},
    {"red.shared.add.u32 [%r30], $;", "r"},
    {"red.global.add.v4.f32 [%q30], {$, $, $, $};", "rP rP rP rP"},
    {"cvta.shared.u64 $, $;", "q q"},
    {"cvta.to.global.u64 $, $;", "q q"},
    {"isspacep.global $, $;", "p rq"},
    {"mapa.shared::cluster.u32 $, $, $;", "r r r"},
    {"mapa.u64 $, $, $;", "q q r"},
    {"getctarank.shared::cluster.u32 $, $;", "r r"},
    {"getctarank.u64 $, $;", "r q"},
    {"createpolicy.fractional.L2::evict_last.b64 $, $;", "q r"},
    /* copies and barriers */
    {"cp.async.ca.shared.global [$], [$], 16, $;", "rqH rqH pr"},
    {"cp.async.cg.shared.global.L2::cache_hint [%r30], [%q30], 16, $;", "q"},
    {"cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [$], [$], $, [$];", "rqH rqH r rq"},
    {"cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%r30], [%q30], 64, [%r31], $;", "h"},
    {"cp.async.bulk.global.shared::cta.bulk_group [$], [$], $;", "rqH rqH r"},
    {"cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [$], [%q30, {$, $}], [%r30];", "rqH rP rP"},
    {"cp.async.bulk.tensor.1d.global.shared::cta.tile.bulk_group.L2::cache_hint [%q30, {$}], [%r30], $;", "r q"},
    {"cp.async.mbarrier.arrive.noinc.shared::cta.b64 [$];", "rqH"},
    {"mbarrier.init.shared::cta.b64 [$], $;", "rqH r"},
    {"mbarrier.arrive.shared::cta.b64 $, [%r30];", "q"},
    {"mbarrier.arrive.shared::cta.b64 $, [%r30], $;", "q r"},
    {"mbarrier.arrive.expect_tx.shared::cta.b64 $, [%r30], $;", "q r"},
    {"mbarrier.arrive_drop.shared::cta.b64 $, [%r30];", "q"},
    {"mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%r30], $;", "r"},
    {"mbarrier.test_wait.shared::cta.b64 $, [%r30], $;", "p q"},
    {"mbarrier.try_wait.parity.shared::cta.b64 $, [%r30], $, $;", "p r r"},
    {"bar.sync $, $;", "r r"},
    {"bar.red.popc.u32 $, $, $;", "r r p"},
    {"bar.red.and.pred $, 1, 64, $;", "p p"},
    {"bar.warp.sync $;", "r"},
    {"nanosleep.u32 $;", "r"},
    /* warps */
    {"shfl.sync.bfly.b32 $|$, $, $, $, $;", "r p r r r r"},
    {"vote.sync.all.pred $, $, $;", "p p r"},
    {"vote.sync.ballot.b32 $, $, $;", "r p r"},
    {"match.any.sync.b32 $, $, $;", "r r r"},
    {"match.all.sync.b64 $|$, $, $;", "r p q r"},
    {"redux.sync.add.s32 $, $, $;", "r r r"},
    {"elect.sync $|$, $;", "r p r"},
    {"activemask.b32 $;", "r"},
    /* matrices */
    {"ldmatrix.sync.aligned.m8n8.x1.shared.b16 {$}, [$];", "rP rqH"},
    {"ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {$, $, $, $}, [%r30];", "rP rP rP rP"},
    {"stmatrix.sync.aligned.m8n8.x2.shared.b16 [%r30], {$, $};", "rP rP"},
    {"movmatrix.sync.aligned.m8n8.trans.b16 $, $;", "rP rP"},
    {"mma.sync.aligned.m16n8k32.row.col.s32.s8.u8.s32 {$, $, $, $}, {$, $, $, $}, {$, $}, {$, $, $, $};", "rP rP rP rP rP rP rP rP rP rP rP rP rP rP"},
    {"mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16 {$, $}, {$, $, $, $}, {$, $}, {$, $};", "rP rP rP rP rP rP rP rP rP rP"},
    {"mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {$, $}, {$}, {$}, {$, $};", "q q q q q q"},
    {"wgmma.mma_async.sync.aligned.m64n8k32.s32.u8.s8 {$, $, $, $}, {$, $, $, $}, %q30, %p1;", "rP rP rP rP rP rP rP rP"},
    /* video */
    {"vadd.s32.u32.s32.sat $, $, $;", "r r r"},
    {"vset4.u32.s32.gt $, $, $, $;", "r r r r"},
    {"vmad.s32.u32.s32 $, $.b0, $.h1, $;", "r r r r"},
    {"dp4a.u32.s32 $, $, $, $;", "r r r r"},
};
/* clang-format on */
enum { FORMS = sizeof forms / sizeof *forms, MOST_PLACES = 16 };
static const char kinds[] = "phrqo";

#define HEAD                                                                                                           \
    ".version 8.6\n.target sm_90a\n.address_size 64\n.visible .entry k(.param .u64 in)\n"                              \
    "{ .shared .align 128 .b8 buf[1024]; .reg .pred %p<40>; .reg .b16 %h<40>; .reg .b32 %r<40>; .reg .b64 %q<40>; "    \
    ".reg .b128 %o<40>;\n"
enum { HEAD_LINES = 5 };

/* The places of a form, as words of `widths`. */
static int places_of(const struct form *f, const char *word[MOST_PLACES]) {
    int places = 0;
    for (const char *p = f->widths; *p; p += strcspn(p, " "), p += *p == ' ') {
        assert_true(places < MOST_PLACES);
        word[places++] = p;
    }
    return places;
}

static bool word_has(const char *word, int kind) {
    return memchr(word, kind, strcspn(word, " ")) != NULL;
}

/* The form with a register of `kind` at `place`, and what fits at all others. */
static void append_line(struct str *out, const struct form *f, int place, char kind) {
    const char *word[MOST_PLACES];
    const int places = places_of(f, word);
    int at = 0;
    for (const char *p = f->text; *p; p++) {
        if (*p != '$' && *p != '@') {
            str_append_bytes(out, p, 1);
            continue;
        }
        at += *p == '$';
        assert_true(at >= 1 && at <= places);
        str_printf(out, "%%%c%d", at - 1 == place ? kind : *word[at - 1], at + 10 * (*p == '@'));
    }
    assert_int_equal(at, places);
    str_append(out, "\n");
}

typedef bool judge_fn(const struct form *f, int place, char kind, void *data);

/* Calls for each line; how many were judged wrongly. */
static int each_line(judge_fn *judge, void *data) {
    int wrong = 0;
    for (int n = 0; n < FORMS; n++) {
        const char *word[MOST_PLACES];
        const int places = places_of(&forms[n], word);
        for (int place = 0; place < places; place++)
            for (const char *kind = kinds; *kind; kind++)
                wrong += !judge(&forms[n], place, *kind, data);
    }
    return wrong;
}

static bool fits(const struct form *f, int place, char kind, bool ptxas) {
    const char *word[MOST_PLACES];
    places_of(f, word);
    return word_has(word[place], kind) || (ptxas && word_has(word[place], toupper(kind)));
}

/* Its handler reads and writes no more than the registers that it was given, or a sanitizer says so. What it computes,
 * and whether its addresses are any, is nothing here. */
static void run_once(const struct sg_module *m) {
    const uint64_t params[1] = {0};
    const struct sg_memory memory = {NULL, 0};
    const struct sg_launch launch = {.function = sg_module_function(m, "k"),
                                     .params = params,
                                     .grid = {1, 1, 1},
                                     .block = {128, 1, 1},
                                     .cluster = {1, 1, 1},
                                     .memory = &memory,
                                     .host_threads = 1,
                                     .resident_ctas = 1,
                                     .sm_count = 1,
                                     .max_warp_instructions = 100};
    struct sg_fault fault;
    sg_run(&launch, NULL, &fault);
}

static bool judge_machine(const struct form *f, int place, char kind, void *data) {
    (void)data;
    const bool good = fits(f, place, kind, false);
    struct str text = {0};
    char error[512] = "";
    str_append(&text, HEAD);
    append_line(&text, f, place, kind);
    str_append(&text, "ret; }\n");
    struct sg_module *m = sg_module_parse(text.data, text.length, error, sizeof error);
    if (m && good && sg_module_lacks(m, 0))
        snprintf(error, sizeof error, "%s", sg_module_lacks(m, 0));
    const bool right = good ? !*error : !m && strstr(error, "PTX line ");
    if (!right)
        print_error("place %d, %%%c of '%s': %s\n", place + 1, kind, f->text, *error ? error : "no complaint");
    if (m && good)
        run_once(m);
    sg_module_free(m);
    str_release(&text);
    return right;
}

static void machine_checks_operands(void **state) {
    (void)state;
    assert_int_equal(each_line(judge_machine, NULL), 0);
}

/* ---- ptxas ---- */

struct line {
    const struct form *form;
    int place;
    char kind;
    bool refused;
};
struct lines {
    struct line *line;
    size_t count;
    bool good; /* those that fit, or those that do not */
};

static bool gather(const struct form *f, int place, char kind, void *data) {
    struct lines *l = data;
    if (fits(f, place, kind, true) != l->good)
        return true;
    l->line = realloc(l->line, (l->count + 1) * sizeof *l->line);
    l->line[l->count++] = (struct line){f, place, kind, false};
    return true;
}

/* Gives ptxas the lines that it has not refused yet; how many it refuses now. It looks for some mistakes only where
 * there are no others. */
static int refuse_more(const char *ptxas, struct lines *l) {
    const char *folder = getenv("TMPDIR");
    char name[512], message[1024];
    struct str text = {0}, command = {0};
    snprintf(name, sizeof name, "%s/operandsXXXXXX", folder && *folder ? folder : "/tmp");
    int refused = 0;
    str_append(&text, HEAD);
    for (size_t k = 0; k < l->count; k++)
        if (l->line[k].refused)
            str_append(&text, "\n");
        else
            append_line(&text, l->line[k].form, l->line[k].place, l->line[k].kind);
    str_append(&text, "ret; }\n");
    FILE *file = fdopen(mkstemp(name), "w");
    assert_non_null(file);
    fwrite(text.data, 1, text.length, file);
    fclose(file);
    str_printf(&command, "'%s' -arch=sm_90a -o /dev/null %s 2>&1", ptxas, name);
    FILE *out = popen(command.data, "r");
    assert_non_null(out);
    while (fgets(message, sizeof message, out)) {
        const char *at = strstr(message, ", line ");
        const unsigned long number = at ? strtoul(at + 7, NULL, 10) : 0;
        if (number <= HEAD_LINES || number > HEAD_LINES + l->count || strstr(message, "warning"))
            continue;
        refused += !l->line[number - HEAD_LINES - 1].refused;
        l->line[number - HEAD_LINES - 1].refused = true;
    }
    pclose(out);
    unlink(name);
    str_release(&text);
    str_release(&command);
    return refused;
}

static int ask_ptxas(const char *ptxas, bool good) {
    struct lines l = {.good = good};
    int wrong = 0;
    each_line(gather, &l);
    while (refuse_more(ptxas, &l))
        continue;
    for (size_t k = 0; k < l.count; k++)
        if (l.line[k].refused == good && ++wrong)
            print_error("place %d, %%%c of '%s': ptxas %s it\n", l.line[k].place + 1, l.line[k].kind,
                        l.line[k].form->text, good ? "refuses" : "takes");
    free(l.line);
    return wrong;
}

static void ptxas_agrees(void **state) {
    (void)state;
    const char *home = getenv("CUDA_HOME");
    struct str ptxas = {0};
    str_printf(&ptxas, "%s/bin/ptxas", home && *home ? home : "/usr/local/cuda");
    if (access(ptxas.data, X_OK) != 0) {
        str_release(&ptxas);
        skip();
    }
    const int wrong = ask_ptxas(ptxas.data, true) + ask_ptxas(ptxas.data, false);
    str_release(&ptxas);
    assert_int_equal(wrong, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(machine_checks_operands),
        cmocka_unit_test(ptxas_agrees),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
