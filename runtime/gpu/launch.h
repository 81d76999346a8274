/* A compiled configuration on a device, and the launch of a GEMM with it. */
#ifndef MT_LAUNCH_H
#define MT_LAUNCH_H

#include "device.h"
#include "runtime/family/family.h"
#include "runtime/jit/compile.h"
#include "templates/gemm_args.h"

/* The kernel of quantize_act.cu, which belongs to no family. */
#define QUANTIZE_ENTRY "quantize_act"

struct kernel {
    struct config config;
    struct image image;
    CUmodule module;
    CUfunction function;
    int clusters; /* that the device holds at once, where the kernel has clusters of several CTAs; else 0 */
};

void device_limits_of(const struct device *dev, struct device_limits *out);

/* Compiles (or takes from the cache) and loads. `p` gives group, scheme, dtype. A configuration without a family is
 * quantize_act.cu. kernel_unload() frees all. */
enum mt_status kernel_compile(const struct device *dev, const struct config *config, const struct problem *p,
                              struct image *out);
enum mt_status kernel_load(struct device *dev, const struct config *config, struct image image /* taken over */,
                           struct kernel *out);
/* Fills in `clusters` for its configuration. kernel_load() does it; a kernel that is given another configuration needs
 * it again. */
void kernel_count_clusters(const struct device *dev, struct kernel *kernel);
void kernel_unload(struct device *dev, struct kernel *kernel);

/* Launches asynchronously on `stream`. `args` is one of the structs of templates/gemm_args.h, filled but for the
 * members that follow from the configuration (tensor maps, split_k, stream_k, raster), which are set here in a copy. */
enum mt_status launch_gemm(const struct device *dev, const struct kernel *kernel, const struct problem *p,
                           const struct mt_gemm_args *args, CUstream stream);
/* The same with the shape that the launch has, for who knows it. The grid is cut to the clusters that find room, and
 * what follows from the configuration is set in `args` itself. */
enum mt_status launch_gemm_as(const struct device *dev, const struct kernel *kernel, struct launch_shape *shape,
                              struct mt_gemm_args *args, CUstream stream);
enum mt_status launch_gemm_f16(const struct device *dev, const struct kernel *kernel, const struct problem *p,
                               const struct mt_gemm_f16_args *args, CUstream stream);
/* quantize_act.cu for the group and dtype of `p`: as config_format_binary() has it; the image alone; or loaded. */
void kernel_format_quantize(const struct problem *p, struct str *out);
enum mt_status kernel_compile_quantize(const struct device *dev, const struct problem *p, struct image *out);
/* `kernel` comes from kernel_load_quantize(). */
enum mt_status kernel_load_quantize(struct device *dev, const struct problem *p, struct kernel *out);
enum mt_status launch_quantize(const struct device *dev, const struct kernel *kernel,
                               const struct mt_quantize_args *args, CUstream stream);

#endif
