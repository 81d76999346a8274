/* A CUDA device, real or software, reached through the driver API that is opened at run time. */
#ifndef MT_DEVICE_H
#define MT_DEVICE_H

#include "runtime/base/status.h"
#include <cuda.h>
#include <stdbool.h>
#include <stddef.h>

/* The driver functions that the project calls. One member per function, named without its cu prefix. */
struct driver {
    void *library;
    CUresult (*Init)(unsigned);
    CUresult (*DriverGetVersion)(int *);
    CUresult (*GetErrorName)(CUresult, const char **);
    CUresult (*GetErrorString)(CUresult, const char **);
    CUresult (*DeviceGetCount)(int *);
    CUresult (*DeviceGet)(CUdevice *, int);
    CUresult (*DeviceGetName)(char *, int, CUdevice);
    CUresult (*DeviceGetUuid)(CUuuid *, CUdevice);
    CUresult (*DeviceTotalMem)(size_t *, CUdevice);
    CUresult (*DeviceGetAttribute)(int *, CUdevice_attribute, CUdevice);
    CUresult (*CtxCreate)(CUcontext *, unsigned, CUdevice);
    CUresult (*CtxDestroy)(CUcontext);
    CUresult (*CtxSetCurrent)(CUcontext);
    CUresult (*CtxSynchronize)(void);
    CUresult (*ModuleLoadData)(CUmodule *, const void *);
    CUresult (*ModuleUnload)(CUmodule);
    CUresult (*ModuleGetFunction)(CUfunction *, CUmodule, const char *);
    CUresult (*FuncGetAttribute)(int *, CUfunction_attribute, CUfunction);
    CUresult (*FuncSetAttribute)(CUfunction, CUfunction_attribute, int);
    CUresult (*OccupancyMaxActiveBlocksPerMultiprocessor)(int *, CUfunction, int, size_t);
    CUresult (*OccupancyMaxActiveClusters)(int *, CUfunction, const CUlaunchConfig *);
    CUresult (*MemAlloc)(CUdeviceptr *, size_t);
    CUresult (*MemFree)(CUdeviceptr);
    CUresult (*MemcpyHtoD)(CUdeviceptr, const void *, size_t);
    CUresult (*MemcpyDtoH)(void *, CUdeviceptr, size_t);
    CUresult (*MemcpyDtoD)(CUdeviceptr, CUdeviceptr, size_t);
    CUresult (*MemcpyHtoDAsync)(CUdeviceptr, const void *, size_t, CUstream);
    CUresult (*MemcpyDtoHAsync)(void *, CUdeviceptr, size_t, CUstream);
    CUresult (*MemsetD8)(CUdeviceptr, unsigned char, size_t);
    CUresult (*MemsetD32Async)(CUdeviceptr, unsigned, size_t, CUstream);
    CUresult (*MemHostAlloc)(void **, size_t, unsigned);
    CUresult (*MemFreeHost)(void *);
    CUresult (*MemHostGetDevicePointer)(CUdeviceptr *, void *, unsigned);
    CUresult (*StreamCreate)(CUstream *, unsigned);
    CUresult (*StreamDestroy)(CUstream);
    CUresult (*StreamSynchronize)(CUstream);
    CUresult (*StreamWaitEvent)(CUstream, CUevent, unsigned);
    CUresult (*StreamBeginCapture)(CUstream, CUstreamCaptureMode);
    CUresult (*StreamEndCapture)(CUstream, CUgraph *);
    CUresult (*GraphInstantiate)(CUgraphExec *, CUgraph, unsigned long long);
    CUresult (*GraphLaunch)(CUgraphExec, CUstream);
    CUresult (*GraphExecDestroy)(CUgraphExec);
    CUresult (*GraphDestroy)(CUgraph);
    CUresult (*EventCreate)(CUevent *, unsigned);
    CUresult (*EventDestroy)(CUevent);
    CUresult (*EventRecord)(CUevent, CUstream);
    CUresult (*EventSynchronize)(CUevent);
    CUresult (*EventElapsedTime)(float *, CUevent, CUevent);
    CUresult (*LaunchKernel)(CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream,
                             void **, void **);
    CUresult (*TensorMapEncodeTiled)(CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *, const cuuint64_t *,
                                     const cuuint64_t *, const cuuint32_t *, const cuuint32_t *, CUtensorMapInterleave,
                                     CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill);
};

enum { DEVICE_SPEC = 512 }; /* a longer one is refused */
struct device {
    struct driver drv;
    CUdevice handle;
    CUcontext context;
    bool software;          /* times are modelled, not measured */
    bool adopted;           /* the context is the caller's */
    char spec[DEVICE_SPEC]; /* "cuda:0", "soft:a100-sxm-80g" */
    char name[128];         /* "NVIDIA H100 80GB HBM3"; a software device says so in its name */
    char uuid[sizeof "GPU-00000000-0000-0000-0000-000000000000"];
    int cc; /* compute capability, 80 for 8.0 */
    int sm_count, l2_bytes, smem_per_sm, smem_per_block_optin, regs_per_sm, threads_per_sm;
    int driver_version;  /* 13000 for 13.0 */
    char time_model[32]; /* of a software device: which model its times are of; "" of a real one, whose are measured */
    size_t memory_bytes;
};

/* `spec` is "cuda:N" or "soft:NAME" (a name in configs/devices/ or a path of such a file); NULL or "" is
 * $MIXTUNE_DEVICE, else the first CUDA device, else soft:a100-sxm-80g. Makes a context and leaves it current. On
 * failure nothing is held. MT_NO_DEVICE says what is missing and what to do. */
enum mt_status device_open(struct device *dev, const char *spec);
void device_close(struct device *dev);

/* Wraps the context that is current on this thread (a serving engine's own): nothing is created or destroyed. */
enum mt_status device_adopt(struct device *dev);

/* MT_OK if `result` is CUDA_SUCCESS, else a sentence with `what` and the driver's own name of the error. */
enum mt_status device_check(const struct device *dev, CUresult result, const char *what);

/* The driver's code of this thread's last failure of device_check(), or what device_note_error() said since:
 * CUDA_SUCCESS, for a start, or the code that the failure of a library stands for. */
CUresult device_error(void);
void device_note_error(CUresult error);
/* An error of the machine, which no kernel can cause: the driver, the operating system, memory cells that fail. */
bool device_error_is_machine(CUresult error);

/* The software device that stands for this one where its times are modelled and its results compared, as a spec; a
 * software device stands for itself. Only cc, name, software and spec are read. The text belongs to `dev` or to the
 * library. */
const char *device_stand_in(const struct device *dev);

/* The architecture that NVRTC is asked for: "sm_80", "sm_90a" (cc 90), "sm_120" ... */
void device_arch(const struct device *dev, char arch[16]);

#endif
