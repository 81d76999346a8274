/* An NVML that knows every GPU but "GPU-another", for tests. Numbers and units as the library's documentation has
 * them. $FAKE_WATTS is the power limit (700). */
#include <stdlib.h>
#include <string.h>

int open_count;
unsigned process_count = 3;
int nvmlInit_v2(void);
int nvmlDeviceGetHandleByUUID(const char *uuid, void **device);
int nvmlSystemGetDriverVersion(char *out, unsigned size);
int nvmlDeviceGetClockInfo(void *device, int type, unsigned *out);
int nvmlDeviceGetMaxClockInfo(void *device, int type, unsigned *out);
int nvmlDeviceGetEnforcedPowerLimit(void *device, unsigned *out);
int nvmlDeviceGetPowerUsage(void *device, unsigned *out);
int nvmlDeviceGetTemperature(void *device, int sensor, unsigned *out);
int nvmlDeviceGetCurrentClocksThrottleReasons(void *device, unsigned long long *out);
int nvmlDeviceGetPersistenceMode(void *device, int *out);
int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *count, void *out);

enum { GOOD = 0, BAD_ARGUMENT = 2, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7 };

static int put(void *device, unsigned *out, unsigned value) {
    if (device != &open_count)
        return BAD_ARGUMENT;
    *out = value;
    return GOOD;
}

int nvmlInit_v2(void) {
    open_count++;
    return GOOD;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, void **device) {
    *device = &open_count;
    return strcmp(uuid, "GPU-another") ? GOOD : NOT_FOUND;
}

int nvmlSystemGetDriverVersion(char *out, unsigned size) {
    strncpy(out, "580.65.06", size);
    return GOOD;
}

int nvmlDeviceGetClockInfo(void *device, int type, unsigned *out) {
    return type == 1 ? put(device, out, 1755) : type == 2 ? put(device, out, 2619) : BAD_ARGUMENT;
}

int nvmlDeviceGetMaxClockInfo(void *device, int type, unsigned *out) {
    return type == 1 ? put(device, out, 1980) : BAD_ARGUMENT;
}

int nvmlDeviceGetEnforcedPowerLimit(void *device, unsigned *out) {
    const char *watts = getenv("FAKE_WATTS");
    return put(device, out, watts ? (unsigned)atoi(watts) * 1000 : 700000);
}

int nvmlDeviceGetPowerUsage(void *device, unsigned *out) {
    return put(device, out, 311600);
}

int nvmlDeviceGetTemperature(void *device, int sensor, unsigned *out) {
    return sensor == 0 ? put(device, out, 54) : BAD_ARGUMENT;
}

int nvmlDeviceGetCurrentClocksThrottleReasons(void *device, unsigned long long *out) {
    *out = 0x4 | 0x20;
    return device == &open_count ? GOOD : BAD_ARGUMENT;
}

int nvmlDeviceGetPersistenceMode(void *device, int *out) {
    *out = 1;
    return device == &open_count ? GOOD : BAD_ARGUMENT;
}

int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *count, void *out) {
    const unsigned room = *count;
    if (device != &open_count)
        return BAD_ARGUMENT;
    *count = process_count;
    if (room < process_count)
        return INSUFFICIENT_SIZE;
    memset(out, 0, 24 * process_count); /* pid, memory, two instance numbers, padding */
    return GOOD;
}
