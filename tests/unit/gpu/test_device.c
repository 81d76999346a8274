/* Opening devices: what each spec takes, what a missing one says, and what is known of the one that was opened. */
#include "runtime/base/file.h"
#include "runtime/base/log.h"
#include "runtime/base/str.h"
#include "runtime/gpu/device.h"
#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* after the above */
#include <cmocka.h>

#define A100 "soft:a100-sxm-80g"

static void assert_says(const char *word) {
    if (!strstr(fail_message(), word))
        fail_msg("'%s' is not in '%s'", word, fail_message());
}

static bool no_driver(void) {
    void *library = dlopen("libcuda.so.1", RTLD_LAZY);
    if (library)
        dlclose(library);
    return !library;
}

static void open_or_fail(struct device *dev, const char *spec) {
    if (device_open(dev, spec) != MT_OK)
        fail_msg("%s", fail_message());
}

static void unknown_specs(void **state) {
    (void)state;
    static const char *const specs[] = {"gpu",  "cuda:", "cuda:x", "cuda:-1", "cuda:0x",
                                        "soft", "soft:", "cuda0",  "rocm:0"};
    struct device dev;
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
        assert_int_equal(device_open(&dev, specs[i]), MT_USAGE);
        assert_says(specs[i]);
        assert_says("cuda:0");
        assert_null(dev.drv.library);
    }
}

static void missing_devices(void **state) {
    (void)state;
    struct device dev;
    assert_int_equal(device_open(&dev, "soft:no-such-chip"), MT_NO_DEVICE);
    assert_says("no-such-chip");
    assert_says("configs/devices");
    assert_null(dev.drv.library);
    assert_int_equal(device_open(&dev, "cuda:512"), MT_NO_DEVICE);
    assert_null(dev.drv.library);
    if (!no_driver())
        return;
    assert_int_equal(device_open(&dev, "cuda:0"), MT_NO_DEVICE);
    assert_says("libcuda.so.1");
    assert_says("--device " A100);
}

static void properties(void **state) {
    (void)state;
    static const struct {
        const char *spec, *arch;
        int cc, sm_count, optin, l2_mib;
    } known[] = {
        {A100, "sm_80", 80, 108, 166912, 40},
        {"soft:h100-sxm", "sm_90a", 90, 132, 232448, 50},
        {"soft:rtx-4090", "sm_89", 89, 128, 101376, 72},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        struct device dev;
        char arch[16];
        open_or_fail(&dev, known[i].spec);
        assert_string_equal(dev.spec, known[i].spec);
        assert_int_equal(strlen(dev.time_model), 16);
        assert_true(dev.software && !dev.adopted);
        assert_int_equal(dev.cc, known[i].cc);
        assert_int_equal(dev.sm_count, known[i].sm_count);
        assert_int_equal(dev.smem_per_block_optin, known[i].optin);
        assert_int_equal(dev.l2_bytes, known[i].l2_mib << 20);
        assert_int_equal(dev.regs_per_sm, 65536);
        assert_true(dev.smem_per_sm > dev.smem_per_block_optin);
        assert_true(dev.threads_per_sm >= 1536);
        assert_true(dev.memory_bytes > (size_t)20e9);
        assert_true(dev.driver_version >= 12000);
        assert_int_equal(strlen(dev.uuid), strlen("GPU-00000000-0000-0000-0000-000000000000"));
        assert_true(sizeof dev.uuid > strlen(dev.uuid));
        assert_true(strncmp(dev.uuid, "GPU-", 4) == 0 && dev.uuid[12] == '-');
        device_arch(&dev, arch);
        assert_string_equal(arch, known[i].arch);
        device_close(&dev);
        assert_null(dev.drv.library);
        assert_null(dev.context);
    }
}

/* A worker process opens the device by the spec of this one. */
static void a_long_spec_is_kept_whole_or_refused(void **state) {
    (void)state;
    const size_t longest = sizeof((struct device *)0)->spec - 1;
    for (size_t length = longest; length <= longest + 1; length++) {
        struct device dev;
        struct str spec = {0}, file = {0};
        char folder[] = "/tmp/mixtune-device-XXXXXX";
        assert_non_null(mkdtemp(folder));
        str_printf(&spec, "soft:%s/", folder);
        while (spec.length + strlen("d.yaml") < length)
            str_append(&spec, spec.length % 2 ? "/" : ".");
        while (spec.length < length)
            str_append(&spec, &"d.yaml"[spec.length + strlen("d.yaml") - length]);
        assert_int_equal(file_read(MT_SOURCE_DIR "/configs/devices/l40s.yaml", &file), MT_OK);
        assert_int_equal(file_write_atomic(spec.data + 5, file.data, file.length), MT_OK);
        if (length == longest) {
            open_or_fail(&dev, spec.data);
            assert_string_equal(dev.spec, spec.data);
            assert_int_equal(dev.sm_count, 142);
            device_close(&dev);
        } else {
            assert_int_equal(device_open(&dev, spec.data), MT_USAGE);
            assert_says("use a shorter path");
        }
        unlink(spec.data + 5);
        rmdir(folder);
        str_release(&spec);
        str_release(&file);
    }
}

/* The names are those that the driver gives. */
static void stand_ins(void **state) {
    (void)state;
    static const struct {
        int cc;
        const char *name, *spec;
    } known[] = {
        {90, "NVIDIA H100 80GB HBM3", "soft:h100-sxm"},
        {90, "NVIDIA H100 PCIe", "soft:h100-sxm"},
        {90, "NVIDIA H200", "soft:h200"},
        {89, "NVIDIA L40S", "soft:l40s"},
        {89, "NVIDIA GeForce RTX 4090", "soft:rtx-4090"},
        {80, "NVIDIA A100-SXM4-80GB", A100},
        {86, "NVIDIA A10", A100},
        {120, "NVIDIA GeForce RTX 5090", A100},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        struct device dev = {.cc = known[i].cc, .spec = "cuda:0"};
        snprintf(dev.name, sizeof dev.name, "%s", known[i].name);
        assert_string_equal(device_stand_in(&dev), known[i].spec);
        dev = (struct device){.cc = known[i].cc, .software = true, .spec = "soft:own.yaml"};
        snprintf(dev.name, sizeof dev.name, "%s", known[i].name);
        assert_string_equal(device_stand_in(&dev), "soft:own.yaml");
    }
    /* There is such a device. */
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        struct device dev;
        open_or_fail(&dev, known[i].spec);
        assert_string_equal(device_stand_in(&dev), known[i].spec);
        device_close(&dev);
    }
}

static void chosen_by_the_environment(void **state) {
    (void)state;
    struct device dev;
    setenv("MIXTUNE_DEVICE", "soft:l40s", 1);
    open_or_fail(&dev, NULL);
    assert_string_equal(dev.spec, "soft:l40s");
    device_close(&dev);
    open_or_fail(&dev, A100); /* a spec goes before it */
    assert_string_equal(dev.spec, A100);
    device_close(&dev);
    /* Named, so there is no falling back. */
    setenv("MIXTUNE_DEVICE", "cuda:512", 1);
    assert_int_equal(device_open(&dev, ""), MT_NO_DEVICE);
    unsetenv("MIXTUNE_DEVICE");
    if (!no_driver())
        return;
    open_or_fail(&dev, "");
    assert_string_equal(dev.spec, A100);
    device_close(&dev);
}

static void one_software_device_at_a_time(void **state) {
    (void)state;
    struct device first, same, other;
    open_or_fail(&first, A100);
    assert_int_equal(device_open(&other, "soft:h200"), MT_USAGE);
    assert_says("one software device at a time");
    open_or_fail(&same, A100);
    device_close(&first);
    assert_int_equal(device_open(&other, "soft:h200"), MT_USAGE);
    device_close(&same);
    open_or_fail(&other, "soft:h200");
    assert_int_equal(other.sm_count, 132);
    device_close(&other);
}

/* The context of somebody else: used, not owned. */
static void adoption(void **state) {
    (void)state;
    struct device owner, guest;
    if (no_driver()) {
        assert_int_equal(device_adopt(&guest), MT_NO_DEVICE);
        assert_says("context");
    }
    open_or_fail(&owner, A100);
    assert_int_equal(device_adopt(&guest), MT_OK);
    assert_string_equal(guest.time_model, owner.time_model);
    assert_true(guest.adopted && guest.software);
    assert_ptr_equal(guest.context, owner.context);
    assert_string_equal(guest.uuid, owner.uuid);
    assert_string_equal(guest.spec, owner.spec);
    assert_int_equal(guest.sm_count, owner.sm_count);
    device_close(&guest);

    /* The owner's context lives on: random bytes go there and come back. */
    unsigned char sent[1000], back[1000] = {0};
    CUdeviceptr memory;
    for (size_t i = 0; i < sizeof sent; i++)
        sent[i] = (unsigned char)lrand48();
    assert_int_equal(device_check(&owner, owner.drv.MemAlloc(&memory, sizeof sent), "alloc"), MT_OK);
    assert_int_equal(device_check(&owner, owner.drv.MemcpyHtoD(memory, sent, sizeof sent), "copy"), MT_OK);
    assert_int_equal(device_check(&owner, owner.drv.MemcpyDtoH(back, memory, sizeof back), "copy"), MT_OK);
    assert_memory_equal(back, sent, sizeof sent);
    assert_int_equal(device_check(&owner, owner.drv.MemFree(memory), "free"), MT_OK);
    device_close(&owner);
}

static void errors_are_sentences(void **state) {
    (void)state;
    struct device dev;
    open_or_fail(&dev, A100);
    assert_int_equal(device_check(&dev, CUDA_SUCCESS, "nothing"), MT_OK);
    assert_int_equal(device_check(&dev, CUDA_ERROR_OUT_OF_MEMORY, "the weights"), MT_FAILURE);
    assert_says("the weights");
    assert_says("CUDA_ERROR_OUT_OF_MEMORY");
    assert_int_equal(device_check(&dev, (CUresult)123456, "the weights"), MT_FAILURE);
    assert_says("123456");
    device_close(&dev);
}

static int quiet(void **state) {
    (void)state;
    log_set_level(LOG_ERROR);
    unsetenv("MIXTUNE_DEVICE");
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unknown_specs),
        cmocka_unit_test(missing_devices),
        cmocka_unit_test(properties),
        cmocka_unit_test(a_long_spec_is_kept_whole_or_refused),
        cmocka_unit_test(stand_ins),
        cmocka_unit_test(chosen_by_the_environment),
        cmocka_unit_test(one_software_device_at_a_time),
        cmocka_unit_test(adoption),
        cmocka_unit_test(errors_are_sentences),
    };
    return cmocka_run_group_tests(tests, quiet, NULL);
}
