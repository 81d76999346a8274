/* The probe on software devices: it finds the constants of the time model, its kernels hold the instructions that they
 * are timed for, and one that skips its work is found out. */
#include "runtime/base/file.h"
#include "runtime/jit/compile.h"
#include "runtime/softgpu/profile/image.h"
#include "runtime/softgpu/profile/profile.h"
#include "small_device.h"
#include "tuner/measure/probe.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* after the above */
#include <cmocka.h>

static void near(const struct limits *limits, const char *name, double want, double share) {
    double got = limit_value(limits, name);
    if (!(fabs(got / want - 1) <= share))
        fail_msg("%s is %g, not %g within %g %%", name, got, want, 100 * share);
}

/* All steps that the device has, in this process; the failure of the first that fails. */
static enum mt_status probe(struct device *dev, struct limits *found) {
    struct prober *prober;
    *found = (struct limits){0};
    enum mt_status status = prober_open(dev, &prober);
    for (int step = 0; step < probe_steps() && !status; step++)
        if (probe_step(dev, step))
            status = prober_measure(prober, step, found);
    prober_close(prober);
    return status;
}

/* A wait of the model for one link: a warp keeps so many loads in flight, and takes 3 instructions for it. */
static double link_ns(const struct dev_profile *d, double latency_ns) {
    return latency_ns / d->loads_in_flight + 3 * d->warp_interval_clocks * 1e3 / d->clock_mhz;
}

/* Of a device whose terms overlap perfectly: else each limit has a part of the others in it, as on hardware. */
static void compare(const char *name) {
    struct device dev;
    struct limits found;
    struct dev_profile *d = NULL;
    char spec[64], folder[] = "/tmp/mixtune-probe-XXXXXX";
    assert_true(mkdtemp(folder) && altered_device(name, "overlap_exponent mma_overlap_exponent", 1000, folder, spec));
    if (device_open(&dev, spec) || probe(&dev, &found) || dev_profile_load(name, &d))
        fail_msg("%s", fail_message());
    unlink(spec + strlen("soft:"));
    rmdir(folder);
    const double read = d->memory_gbs * d->memory_efficiency, ghz = d->clock_mhz / 1e3,
                 far = d->memory_latency_ns / 1e3;
    const double tops = 2e-3 * d->sm_count * ghz, issue = 32.0 * d->schedulers_per_sm;
    near(&found, "dram_read_load", read, 0.03);
    near(&found, "dram_write", read, 0.03);
    near(&found, "l2_read", d->l2_bytes_per_clock * ghz, 0.02);
    near(&found, "int8_mma", tops * d->tensor_int8_macs * d->mma_sync_fraction, 0.01);
    near(&found, "f16_mma", tops * d->tensor_f16_macs * d->mma_sync_fraction, 0.01);
    near(&found, "fma", d->fma_lanes < issue ? d->fma_lanes : issue, 0.02);
    near(&found, "mad", d->imad_lanes, 0.02);
    near(&found, "add", d->alu_lanes + d->imad_lanes, 0.06); /* the compiler makes every second one a multiply-add */
    near(&found, "lop3", d->alu_lanes, 0.02);
    near(&found, "convert", d->compute_capability > 80 ? d->alu_lanes : d->xu_lanes, 0.02); /* I2FP from 8.6 on */
    near(&found, "clock", d->clock_mhz, 1e-9);
    near(&found, "shared_read", 128, 0.01);
    near(&found, "shared_quad", 128, 0.01); /* a quarter of a warp at a time, whatever it asks for */
    near(&found, "launch", d->launch_us + far, 0.02);
    near(&found, "graph_node", d->graph_node_us + far, 0.02);
    near(&found, "l2_latency", link_ns(d, d->l2_latency_clocks / ghz), 0.05);
    near(&found, "dram_latency", link_ns(d, d->memory_latency_ns), 0.05);
    if (dev.cc == 90) {
        near(&found, "dram_read_bulk", read, 0.03);
        near(&found, "int8_wgmma_n32", tops * d->tensor_int8_macs, 0.01);
        near(&found, "int8_wgmma_n256", tops * d->tensor_int8_macs, 0.01);
        assert_true(limit_value(&found, "int8_wgmma_n8") > 0);
    }
    assert_int_equal(found.count, dev.cc == 90 ? 23 : 17);
    dev_profile_free(d);
    device_close(&dev);
}

static void constants_of_the_a100(void **state) {
    (void)state;
    compare("a100-sxm-80g");
}

static void constants_of_the_h100(void **state) {
    (void)state;
    compare("h100-sxm");
}

/* ---- what the compiler left of the loops ---- */

static void read_ptx(const char *arch, const char *option, unsigned cc, struct dev_image *out) {
    struct image image;
    char error[300];
    const struct compile_request request = {"probe.cu", &option, 1, arch};
    if (compile_kernel(&request, &image))
        fail_msg("%s", fail_message());
    if (dev_image_read(image.data, cc, out, error, sizeof error) != CUDA_SUCCESS)
        fail_msg("%s", error);
    image_release(&image);
}

/* Instructions of that name in a kernel. */
static int count_in(const struct dev_image *image, const char *kernel, const char *instruction) {
    char entry[80];
    int count = 0;
    snprintf(entry, sizeof entry, ".entry %s(", kernel);
    const char *at = strstr(image->ptx, entry), *end = at ? strstr(at + 1, ".entry ") : NULL;
    assert_non_null(at);
    end = end ? end : at + strlen(at);
    while ((at = strstr(at, instruction)) && at < end) {
        count++;
        at++;
    }
    return count;
}

static void loops_are_whole(void **state) {
    (void)state;
    static const struct {
        const char *kernel, *instruction;
        int count; /* of a round, or more where the compiler unrolled it */
    } plain[] = {{"probe_fma", "fma.rn.f32 ", 256},         {"probe_add", "add.u32 ", 256},
                 {"probe_mad", "mad.lo.u32 ", 256},         {"probe_lop3", "lop3.b32 ", 256},
                 {"probe_convert", "cvt.rn.f32.s32 ", 256}, {"probe_mma_s8", "mma.sync.", 64},
                 {"probe_mma_f16", "mma.sync.", 64},        {"probe_shared", "ld.shared.v4", 8},
                 {"probe_shared_quad", "ld.shared.v4", 8},  {"probe_load", "ld.global.cg.v4", 8},
                 {"probe_chase", "ld.global.cg.u32", 16},   {"probe_bulk", "cp.async.bulk", 1}};
    static const char *const wgmma[] = {"probe_wgmma_n8", "probe_wgmma_n32", "probe_wgmma_n64", "probe_wgmma_n128",
                                        "probe_wgmma_n256"};
    struct dev_image image;
    read_ptx("sm_90a", "-DWGMMA=0", 90, &image);
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        if (count_in(&image, plain[i].kernel, plain[i].instruction) < plain[i].count)
            fail_msg("%s has %d `%s`, not %d", plain[i].kernel, count_in(&image, plain[i].kernel, plain[i].instruction),
                     plain[i].instruction, plain[i].count);
    dev_image_release(&image);
    read_ptx("sm_90a", "-DWGMMA=1", 90, &image);
    for (size_t i = 0; i < sizeof wgmma / sizeof *wgmma; i++)
        assert_int_equal(count_in(&image, wgmma[i], "wgmma.mma_async"), 64);
    dev_image_release(&image);
}

/* ---- a kernel that does less than it is timed for ---- */

static void break_and_probe(const char *from, const char *to, const char *kernel) {
    char folder[] = "/tmp/mixtune-probe-XXXXXX", path[64];
    const char *text, *at = NULL;
    struct str broken = {0};
    struct device dev;
    struct limits found;
    if (template_source("probe.cu", &text) != MT_OK || !(at = strstr(text, from)))
        fail_msg("probe.cu has no `%s`", from);
    str_append_bytes(&broken, text, (size_t)(at - text));
    str_printf(&broken, "%s%s", to, at + strlen(from));
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/probe.cu", folder);
    assert_int_equal(file_write_atomic(path, broken.data, broken.length), MT_OK);
    setenv("MIXTUNE_TEMPLATES", folder, 1);
    assert_int_equal(device_open(&dev, "soft:a100-sxm-80g"), MT_OK);
    assert_int_equal(probe(&dev, &found), MT_WRONG);
    if (!strstr(fail_message(), kernel))
        fail_msg("not the sentence about %s: %s", kernel, fail_message());
    device_close(&dev);
    unsetenv("MIXTUNE_TEMPLATES");
    unlink(path);
    rmdir(folder);
    str_release(&broken);
}

static void idleness_is_found_out(void **state) {
    (void)state;
    break_and_probe("i < instructions;", "i < instructions / 2;", "probe_fma");
    break_and_probe("i < products;", "i < products / 2;", "probe_mma_s8");
    break_and_probe("j < at_once;", "j < at_once / 2;", "probe_load");
    break_and_probe("i < 16;", "i < 15;", "probe_chase");
    break_and_probe("i < passes;", "i < passes - 1;", "probe_shared");
    break_and_probe("read_shared<4>", "read_shared<8>", "probe_shared_quad");
    break_and_probe("thread_number(); i < count;", "thread_number(); i < count / 2;", "probe_store");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(constants_of_the_a100),
        cmocka_unit_test(constants_of_the_h100),
        cmocka_unit_test(loops_are_whole),
        cmocka_unit_test(idleness_is_found_out),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
