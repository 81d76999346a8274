#include "nvml.h"
#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* The part of nvml.h that is used here; its binary interface does not change. Every function returns 0 for success. */
typedef struct nvml_device *nvml_device;
enum { CLOCK_SM = 1, CLOCK_MEMORY = 2, SENSOR_GPU = 0 };
struct nvml_process {
    unsigned pid;
    unsigned long long memory;
    unsigned gpu_instance, compute_instance;
};

struct nvml {
    void *library;
    int (*init)(void);
    int (*shutdown)(void);
    int (*by_uuid)(const char *, nvml_device *);
    int (*driver_version)(char *, unsigned);
    int (*clock)(nvml_device, int, unsigned *);
    int (*max_clock)(nvml_device, int, unsigned *);
    int (*power_limit)(nvml_device, unsigned *); /* milliwatts */
    int (*power)(nvml_device, unsigned *);
    int (*temperature)(nvml_device, int, unsigned *);
    int (*throttle)(nvml_device, unsigned long long *);
    int (*persistence)(nvml_device, int *);
    int (*processes)(nvml_device, unsigned *, struct nvml_process *);
};

static const struct {
    size_t member;
    const char *symbol;
} symbols[] = {
    {offsetof(struct nvml, init), "nvmlInit_v2"},
    {offsetof(struct nvml, shutdown), "nvmlShutdown"},
    {offsetof(struct nvml, by_uuid), "nvmlDeviceGetHandleByUUID"},
    {offsetof(struct nvml, driver_version), "nvmlSystemGetDriverVersion"},
    {offsetof(struct nvml, clock), "nvmlDeviceGetClockInfo"},
    {offsetof(struct nvml, max_clock), "nvmlDeviceGetMaxClockInfo"},
    {offsetof(struct nvml, power_limit), "nvmlDeviceGetEnforcedPowerLimit"},
    {offsetof(struct nvml, power), "nvmlDeviceGetPowerUsage"},
    {offsetof(struct nvml, temperature), "nvmlDeviceGetTemperature"},
    {offsetof(struct nvml, throttle), "nvmlDeviceGetCurrentClocksThrottleReasons"},
    {offsetof(struct nvml, persistence), "nvmlDeviceGetPersistenceMode"},
    {offsetof(struct nvml, processes), "nvmlDeviceGetComputeRunningProcesses_v3"},
};

/* Bits of the throttle reasons. */
static const struct {
    unsigned long long bit;
    const char *name;
} reasons[] = {
    {0x1, "idle"},        {0x2, "application-clocks"}, {0x4, "power-cap"},
    {0x8, "hw-slowdown"}, {0x10, "sync-boost"},        {0x20, "sw-thermal"},
    {0x40, "hw-thermal"}, {0x80, "power-brake"},       {0x100, "display-clocks"},
};

static void nvml_close(struct nvml *nvml) {
    if (nvml->shutdown)
        nvml->shutdown();
    if (nvml->library)
        dlclose(nvml->library);
}

/* False, with nothing held, where there is no library of ours or no such GPU. Every function is there afterwards. */
static bool nvml_open(const char *uuid, struct nvml *nvml, nvml_device *device) {
    *nvml = (struct nvml){.library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL)};
    bool complete = nvml->library;
    for (size_t i = 0; complete && i < sizeof symbols / sizeof *symbols; i++) {
        void *address = dlsym(nvml->library, symbols[i].symbol);
        memcpy((char *)nvml + symbols[i].member, &address, sizeof address);
        complete = address;
    }
    if (!complete || nvml->init() != 0) {
        nvml->shutdown = NULL; /* only what was started is shut down */
        nvml_close(nvml);
        return false;
    }
    if (nvml->by_uuid(uuid, device) == 0)
        return true;
    nvml_close(nvml);
    return false;
}

static void describe_throttle(unsigned long long active, struct str *out) {
    const char *separator = "";
    str_append(out, ",\"throttle\":[");
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (active & reasons[i].bit) {
            str_printf(out, "%s\"%s\"", separator, reasons[i].name);
            separator = ",";
        }
    str_append(out, "]");
}

static void describe_numbers(const struct nvml *nvml, nvml_device device, struct str *out) {
    unsigned value;
    if (nvml->clock(device, CLOCK_SM, &value) == 0)
        str_printf(out, ",\"sm_mhz\":%u", value);
    if (nvml->clock(device, CLOCK_MEMORY, &value) == 0)
        str_printf(out, ",\"memory_mhz\":%u", value);
    if (nvml->max_clock(device, CLOCK_SM, &value) == 0)
        str_printf(out, ",\"sm_max_mhz\":%u", value);
    if (nvml->power_limit(device, &value) == 0)
        str_printf(out, ",\"power_limit_w\":%.0f", value / 1e3);
    if (nvml->power(device, &value) == 0)
        str_printf(out, ",\"power_w\":%.0f", value / 1e3);
    if (nvml->temperature(device, SENSOR_GPU, &value) == 0)
        str_printf(out, ",\"temperature_c\":%u", value);
}

void nvml_describe(const char *uuid, struct str *out) {
    struct nvml nvml;
    nvml_device device;
    char driver[80] = "";
    unsigned long long active;
    int persistence;
    if (!nvml_open(uuid, &nvml, &device))
        return;
    if (nvml.driver_version(driver, sizeof driver) != 0 || strpbrk(driver, "\"\\"))
        *driver = 0;
    str_printf(out, "{\"driver\":\"%s\"", driver);
    describe_numbers(&nvml, device, out);
    if (nvml.throttle(device, &active) == 0)
        describe_throttle(active, out);
    if (nvml.persistence(device, &persistence) == 0)
        str_printf(out, ",\"persistence\":%s", persistence ? "true" : "false");
    str_append(out, "}");
    nvml_close(&nvml);
}

int nvml_compute_processes(const char *uuid) {
    struct nvml nvml;
    nvml_device device;
    struct nvml_process process[64];
    unsigned count = sizeof process / sizeof *process;
    if (!nvml_open(uuid, &nvml, &device))
        return -1;
    int result = nvml.processes(device, &count, process) == 0 ? (int)count : -1;
    nvml_close(&nvml);
    return result;
}
