#include "device.h"
#include "driver.h"
#include "runtime/base/file.h"
#include "runtime/base/log.h"
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SOFT_DEFAULT "a100-sxm-80g"
#define SOFT_LIBRARY "libsoftgpu.so"

/* The software device reads its name from the environment when its library starts, so that one process has one at a
 * time. */
static pthread_mutex_t soft_lock = PTHREAD_MUTEX_INITIALIZER;
static int soft_users;

/* Fails as a string does. Beside the running library or program, in ../lib (an installed program), one to three folders
 * up (tests in the build tree). */
static void soft_library(struct str *path) {
    static const char *const places[] = {"/", "/../lib/", "/../", "/../../", "/../../../"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        str_clear(path);
        if (!own_folder(path))
            break;
        str_printf(path, "%s" SOFT_LIBRARY, places[i]);
        if (!path->failed && access(path->data, R_OK) == 0)
            return;
    }
    if (path->failed)
        return;
    str_clear(path);
    str_append(path, SOFT_LIBRARY);
}

/* The software device says itself, and better than by a number, why it does not start. */
static enum mt_status soft_start(const struct device *dev) {
    CUresult(CUDAAPI * start)(char *, int) = NULL;
    char why[1024] = "";
    *(void **)&start = dlsym(dev->drv.library, "softgpuOpen"); /* NULL: device_start() finds out */
    const CUresult result = start ? start(why, sizeof why) : CUDA_SUCCESS;
    return *why ? fail(result == CUDA_ERROR_INVALID_VALUE ? MT_USAGE : MT_NO_DEVICE, "%s", why) : MT_OK;
}

static enum mt_status soft_open(struct device *dev, const char *name) {
    struct str path = {0};
    enum mt_status status = config_find("devices", name, "yaml", &path);
    if (status != MT_OK) {
        str_release(&path);
        return status == MT_FAILURE ? status : fail_context(MT_NO_DEVICE, "no software device %s", name);
    }
    pthread_mutex_lock(&soft_lock);
    const char *current = getenv("SOFTGPU_DEVICE");
    if (soft_users > 0 && (!current || strcmp(current, name) != 0)) {
        status = fail(MT_USAGE, "soft:%s cannot be opened while soft:%s is: one software device at a time", name,
                      current ? current : "");
        goto out;
    }
    soft_library(&path);
    status = str_status(&path);
    if (status == MT_OK && setenv("SOFTGPU_DEVICE", name, 1) != 0)
        status = memory_short(strlen(name));
    if (status != MT_OK)
        goto out;
    status = driver_open(&dev->drv, path.data, RTLD_NOW | RTLD_LOCAL);
    if (status != MT_OK)
        status = fail_context(status, "the software device (" SOFT_LIBRARY
                                      ") cannot be used; build it with make, or install it beside libmixtune");
    else
        soft_users++;
out:
    pthread_mutex_unlock(&soft_lock);
    str_release(&path);
    return status;
}

static enum mt_status cuda_open(struct device *dev) {
    enum mt_status status = driver_open(&dev->drv, "libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (status != MT_OK && access("/dev/nvidiactl", F_OK) != 0)
        return fail(MT_NO_DEVICE,
                    "no CUDA driver (libcuda.so.1) on this machine; install one, or use --device soft:" SOFT_DEFAULT);
    if (status != MT_OK)
        return fail_context(status, "the CUDA driver cannot be used (--device soft:" SOFT_DEFAULT " works without)");
    return status;
}

static _Thread_local CUresult last_error;

CUresult device_error(void) {
    return last_error;
}

void device_note_error(CUresult error) {
    last_error = error;
}

bool device_error_is_machine(CUresult error) {
    switch (error) {
    case CUDA_ERROR_DEVICE_UNAVAILABLE:
    case CUDA_ERROR_DEVICE_NOT_LICENSED:
    case CUDA_ERROR_ECC_UNCORRECTABLE:
    case CUDA_ERROR_NVLINK_UNCORRECTABLE:
    case CUDA_ERROR_SHARED_OBJECT_SYMBOL_NOT_FOUND:
    case CUDA_ERROR_SHARED_OBJECT_INIT_FAILED:
    case CUDA_ERROR_OPERATING_SYSTEM:
    case CUDA_ERROR_SYSTEM_NOT_READY:
    case CUDA_ERROR_SYSTEM_DRIVER_MISMATCH:
    case CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE:
    case CUDA_ERROR_MPS_CONNECTION_FAILED:
    case CUDA_ERROR_MPS_RPC_FAILURE:
    case CUDA_ERROR_MPS_SERVER_NOT_READY:
    case CUDA_ERROR_MPS_MAX_CLIENTS_REACHED:
    case CUDA_ERROR_MPS_MAX_CONNECTIONS_REACHED:
    case CUDA_ERROR_MPS_CLIENT_TERMINATED:
        return true;
    default:
        return false;
    }
}

enum mt_status device_check(const struct device *dev, CUresult result, const char *what) {
    const char *name = NULL, *text = NULL;
    if (result == CUDA_SUCCESS)
        return MT_OK;
    device_note_error(result);
    if (dev->drv.GetErrorName(result, &name) != CUDA_SUCCESS || !name)
        name = "an error that the driver does not name";
    if (dev->drv.GetErrorString(result, &text) != CUDA_SUCCESS || !text)
        text = "no description";
    return fail(MT_FAILURE, "%s: %s (%d): %s", what, name, (int)result, text);
}

/* cuInit and the number of devices; a driver without any is MT_NO_DEVICE. */
static enum mt_status driver_start(struct device *dev, int *count) {
    CUresult result = dev->drv.Init(0);
    *count = 0;
    if (result == CUDA_SUCCESS)
        result = dev->drv.DeviceGetCount(count);
    if (result == CUDA_ERROR_NO_DEVICE || (result == CUDA_SUCCESS && *count == 0))
        return fail(
            MT_NO_DEVICE,
            "the driver finds no GPU; check nvidia-smi and CUDA_VISIBLE_DEVICES, or use --device soft:" SOFT_DEFAULT);
    if (result != CUDA_SUCCESS) {
        device_check(dev, result, "the driver does not start");
        return MT_NO_DEVICE;
    }
    return MT_OK;
}

/* Times of two models are never compared, so a library that cannot say which it has is of no use. */
static enum mt_status ask_time_model(struct device *dev) {
    CUresult (*time_model)(char *, int, CUdevice);
    void *symbol = dlsym(dev->drv.library, "softgpuTimeModel");
    memcpy(&time_model, &symbol, sizeof time_model);
    if (!time_model)
        return fail(MT_NO_DEVICE, SOFT_LIBRARY " is of another version, for it has no softgpuTimeModel(); build it "
                                               "with make, or install it beside libmixtune");
    return device_check(dev, time_model(dev->time_model, sizeof dev->time_model, dev->handle),
                        "the software device does not say which time model it has");
}

/* Attributes of dev->handle. */
static enum mt_status device_describe(struct device *dev) {
    const struct driver *drv = &dev->drv;
    CUuuid uuid;
    int major = 0, minor = 0;
    const struct {
        int *value;
        CUdevice_attribute attribute;
    } numbers[] = {
        {&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR},
        {&minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR},
        {&dev->sm_count, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT},
        {&dev->l2_bytes, CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE},
        {&dev->smem_per_sm, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR},
        {&dev->smem_per_block_optin, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN},
        {&dev->regs_per_sm, CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR},
        {&dev->threads_per_sm, CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR},
    };
    CUresult result = CUDA_SUCCESS;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers && result == CUDA_SUCCESS; i++)
        result = drv->DeviceGetAttribute(numbers[i].value, numbers[i].attribute, dev->handle);
    if (result == CUDA_SUCCESS)
        result = drv->DeviceGetName(dev->name, sizeof dev->name, dev->handle);
    if (result == CUDA_SUCCESS)
        result = drv->DeviceGetUuid(&uuid, dev->handle);
    if (result == CUDA_SUCCESS)
        result = drv->DeviceTotalMem(&dev->memory_bytes, dev->handle);
    if (result == CUDA_SUCCESS)
        result = drv->DriverGetVersion(&dev->driver_version);
    if (result != CUDA_SUCCESS)
        return device_check(dev, result, "the device cannot be asked for its properties");

    dev->cc = major * 10 + minor;
    char *at = dev->uuid + sprintf(dev->uuid, "GPU");
    for (size_t i = 0; i < sizeof uuid.bytes; i++)
        at += sprintf(at, i == 0 || i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x",
                      (unsigned char)uuid.bytes[i]);
    return dev->software ? ask_time_model(dev) : MT_OK;
}

/* Device number `index` of the driver that is open, and a context on it. */
static enum mt_status device_start(struct device *dev, int index) {
    int count;
    enum mt_status status = driver_start(dev, &count);
    if (status != MT_OK)
        return status;
    if (index >= count)
        return fail(MT_NO_DEVICE, "there is no cuda:%d; the driver finds %d GPU%s, the first is cuda:0", index, count,
                    count == 1 ? "" : "s");
    status = device_check(dev, dev->drv.DeviceGet(&dev->handle, index), "the device cannot be opened");
    if (status == MT_OK)
        status = device_describe(dev);
    if (status == MT_OK)
        status = device_check(dev, dev->drv.CtxCreate(&dev->context, 0, dev->handle), "no context on the device");
    return status;
}

/* Whoever opens the device again does so by its spec, so it is kept whole or not at all. */
static enum mt_status spec_set(struct device *dev, const char *kind, const char *name) {
    if (strlen(kind) + strlen(name) >= sizeof dev->spec)
        return fail(MT_USAGE, "the device %s%.40s... has a name of over %zu characters; use a shorter path", kind, name,
                    sizeof dev->spec - 1);
    sprintf(dev->spec, "%s%s", kind, name);
    return MT_OK;
}

/* A device that is named in full. */
static enum mt_status device_open_named(struct device *dev, const char *spec) {
    enum mt_status status;
    int index = 0, end = 0;
    memset(dev, 0, sizeof *dev);
    dev->software = strncmp(spec, "soft:", 5) == 0;
    /* Nine digits: more would wrap around. */
    bool cuda =
        strcmp(spec, "cuda") == 0 || (sscanf(spec, "cuda:%9d%n", &index, &end) == 1 && index >= 0 && !spec[end]);
    if (!cuda && !(dev->software && spec[5]))
        return fail(MT_USAGE, "'%s' is not a device; use cuda:N or soft:NAME, such as cuda:0 or soft:" SOFT_DEFAULT,
                    spec);
    if (cuda)
        snprintf(dev->spec, sizeof dev->spec, "cuda:%d", index);
    status = cuda ? cuda_open(dev) : spec_set(dev, "soft:", spec + 5);
    if (status == MT_OK && !cuda)
        status = soft_open(dev, spec + 5);
    if (status == MT_OK && !cuda)
        status = soft_start(dev);
    if (status == MT_OK)
        status = device_start(dev, index);
    if (status != MT_OK)
        device_close(dev);
    return status;
}

enum mt_status device_open(struct device *dev, const char *spec) {
    if (!spec || !*spec)
        spec = getenv("MIXTUNE_DEVICE");
    bool any = !spec || !*spec;
    enum mt_status status = device_open_named(dev, any ? "cuda:0" : spec);
    if (any && status == MT_NO_DEVICE) {
        log_debug("%s", fail_message());
        status = device_open_named(dev, "soft:" SOFT_DEFAULT);
    }
    if (any && status == MT_OK)
        log_info("device %s: %s", dev->spec, dev->name);
    return status;
}

void device_close(struct device *dev) {
    if (dev->context && !dev->adopted)
        dev->drv.CtxDestroy(dev->context);
    if (dev->drv.library && dev->software && !dev->adopted) {
        pthread_mutex_lock(&soft_lock);
        soft_users--;
        pthread_mutex_unlock(&soft_lock);
    }
    driver_close(&dev->drv);
    memset(dev, 0, sizeof *dev);
}

/* Opens the driver if it is loaded already and has a current context on this thread. */
static bool adopt_from(struct device *dev, const char *path) {
    if (driver_open(&dev->drv, path, RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD) != MT_OK)
        return false;
    CUresult (*current)(CUcontext *), (*device_of)(CUdevice *);
    void *symbols[] = {dlsym(dev->drv.library, "cuCtxGetCurrent"), dlsym(dev->drv.library, "cuCtxGetDevice")};
    memcpy(&current, &symbols[0], sizeof current);
    memcpy(&device_of, &symbols[1], sizeof device_of);
    if (current && device_of && current(&dev->context) == CUDA_SUCCESS && dev->context &&
        device_of(&dev->handle) == CUDA_SUCCESS)
        return true;
    driver_close(&dev->drv);
    return false;
}

enum mt_status device_adopt(struct device *dev) {
    struct str path = {0};
    enum mt_status status = MT_OK;
    memset(dev, 0, sizeof *dev);
    dev->adopted = true;
    if (adopt_from(dev, "libcuda.so.1")) {
        snprintf(dev->spec, sizeof dev->spec, "cuda:%d", (int)dev->handle);
    } else {
        soft_library(&path);
        status = str_status(&path);
        dev->software = status == MT_OK && adopt_from(dev, path.data);
        const char *name = getenv("SOFTGPU_DEVICE");
        if (status == MT_OK)
            status = spec_set(dev, "soft:", name && *name ? name : SOFT_DEFAULT);
    }
    str_release(&path);
    if (status == MT_OK)
        status = dev->context ? device_describe(dev)
                              : fail(MT_NO_DEVICE, "no CUDA context is current on this thread; make one before "
                                                   "libmixtune is asked to use it");
    if (status != MT_OK)
        device_close(dev);
    return status;
}

const char *device_stand_in(const struct device *dev) {
    static const struct {
        int cc;
        const char *word, *spec; /* of the name */
    } known[] = {
        {90, "H200", "soft:h200"}, {90, "", "soft:h100-sxm"}, {89, "4090", "soft:rtx-4090"}, {89, "", "soft:l40s"}};
    if (dev->software)
        return dev->spec;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (dev->cc == known[i].cc && strstr(dev->name, known[i].word))
            return known[i].spec;
    return "soft:" SOFT_DEFAULT;
}

void device_arch(const struct device *dev, char arch[16]) {
    snprintf(arch, 16, dev->cc == 90 ? "sm_%da" : "sm_%d", dev->cc);
}
