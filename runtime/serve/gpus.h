/* Which GPU type of a bundle is taken on a device, and what of it can run there. */
#ifndef MT_GPUS_H
#define MT_GPUS_H

#include "db/bundle/bundle.h"
#include "runtime/family/family.h"
#include "runtime/gpu/device.h"

/* Whether rows are for this device. */
bool gpu_is(const struct bundle_fingerprint *made_for, const struct device *dev);

/* Whether images that were built for the one GPU have code that the other can be given: machine code, or PTX that its
 * driver compiles. */
bool gpu_runs_images(const struct bundle_fingerprint *made_for, const struct device *dev);

/* The numbers of the types that a device may take, best first, in `order` (with room for all). That of the device
 * alone, if it is among them. Else those of other GPUs, if `flags` have MT_ALLOW_OTHER_GPU: of the same compute
 * capability, then those whose images run here, then those whose kernels must be compiled; of equals the one with the
 * nearest number of SMs. MT_NO_DEVICE with a list of what there is if there is none. */
enum mt_status gpus_order(const struct bundle_fingerprint *gpus, int count, const struct device *dev, unsigned flags,
                          int *order, int *found);

/* MT_NO_DEVICE: nothing of any of them runs here. */
enum mt_status gpus_fail(const struct bundle_fingerprint *gpus, int count, const struct device *dev);

/* Adds what a bundle that is compiled on a GPU of another kind may lack: for the formats of its layers what
 * stands in of each family that runs there. */
enum mt_status gpu_add_defaults(struct bundle *bundle, const struct device *dev);

#endif
