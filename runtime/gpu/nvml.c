#include "nvml.h"
#include "runtime/base/symbols.h"
#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* The part of nvml.h that is used here; its binary interface does not change. Every function returns 0 for success. */
typedef struct nvml_device *nvml_device;
enum { CLOCK_SM = 1, CLOCK_MEMORY = 2, SENSOR_GPU = 0, INSUFFICIENT_SIZE = 7 };
struct nvml_process {
    unsigned pid;
    unsigned long long memory;
    unsigned gpu_instance, compute_instance;
};

static struct nvml {
    int (*init)(void);
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
} nvml;
static bool is_open; /* and every function is there */

static const struct symbol symbols[] = {
    {offsetof(struct nvml, init), "nvmlInit_v2"},
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

/* Starting it is slow, and a sweep asks before every problem: it is started once and stays. */
static void start(void) {
    void *library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    is_open = library && !symbols_find(library, symbols, sizeof symbols / sizeof *symbols, &nvml) && nvml.init() == 0;
    if (library && !is_open)
        dlclose(library);
}

/* False where there is no library of ours or no such GPU. */
static bool find(const char *uuid, nvml_device *device) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, start);
    return is_open && nvml.by_uuid(uuid, device) == 0;
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

static void describe_numbers(nvml_device device, struct str *out) {
    unsigned value;
    if (nvml.clock(device, CLOCK_SM, &value) == 0)
        str_printf(out, ",\"sm_mhz\":%u", value);
    if (nvml.clock(device, CLOCK_MEMORY, &value) == 0)
        str_printf(out, ",\"memory_mhz\":%u", value);
    if (nvml.max_clock(device, CLOCK_SM, &value) == 0)
        str_printf(out, ",\"sm_max_mhz\":%u", value);
    if (nvml.power_limit(device, &value) == 0)
        str_printf(out, ",\"power_limit_w\":%.0f", value / 1e3);
    if (nvml.power(device, &value) == 0)
        str_printf(out, ",\"power_w\":%.0f", value / 1e3);
    if (nvml.temperature(device, SENSOR_GPU, &value) == 0)
        str_printf(out, ",\"temperature_c\":%u", value);
}

void nvml_describe(const char *uuid, struct str *out) {
    nvml_device device;
    char driver[80] = "";
    unsigned long long active;
    int persistence;
    if (!find(uuid, &device))
        return;
    if (nvml.driver_version(driver, sizeof driver) != 0 || strpbrk(driver, "\"\\"))
        *driver = 0;
    str_printf(out, "{\"driver\":\"%s\"", driver);
    describe_numbers(device, out);
    if (nvml.throttle(device, &active) == 0)
        describe_throttle(active, out);
    if (nvml.persistence(device, &persistence) == 0)
        str_printf(out, ",\"persistence\":%s", persistence ? "true" : "false");
    str_append(out, "}");
}

int nvml_compute_processes(const char *uuid) {
    nvml_device device;
    struct nvml_process process[64];
    unsigned count = sizeof process / sizeof *process;
    if (!find(uuid, &device))
        return -1;
    const int result = nvml.processes(device, &count, process);
    return result == 0 || result == INSUFFICIENT_SIZE ? (int)count : -1; /* of more than fit it gives the number */
}
