#include "profile.h"
#include "runtime/base/file.h"
#include "runtime/yaml/yaml.h"
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define COUNT(key)  CYAML_FIELD_UINT(#key, CYAML_FLAG_DEFAULT, struct dev_profile, key)
#define NUMBER(key) CYAML_FIELD_FLOAT(#key, CYAML_FLAG_DEFAULT, struct dev_profile, key)
static const cyaml_schema_field_t fields[] = {
    CYAML_FIELD_STRING_PTR("name", CYAML_FLAG_POINTER, struct dev_profile, name, 1, 60),
    COUNT(compute_capability),
    COUNT(sm_count),
    COUNT(clock_mhz),
    COUNT(memory_mib),
    NUMBER(memory_gbs),
    NUMBER(memory_efficiency),
    NUMBER(memory_latency_ns),
    COUNT(l2_kib),
    NUMBER(l2_bytes_per_clock),
    NUMBER(sm_l2_bytes_per_clock),
    NUMBER(l2_latency_clocks),
    COUNT(shared_per_sm_kib),
    COUNT(shared_per_block_kib),
    COUNT(shared_reserved_bytes),
    COUNT(registers_per_sm),
    COUNT(register_granule),
    COUNT(warps_per_sm),
    COUNT(blocks_per_sm),
    COUNT(schedulers_per_sm),
    NUMBER(alu_lanes),
    NUMBER(fma_lanes),
    NUMBER(imad_lanes),
    NUMBER(half_lanes),
    NUMBER(xu_lanes),
    NUMBER(lsu_lanes),
    NUMBER(fp64_lanes),
    NUMBER(branch_lanes),
    NUMBER(tensor_int8_macs),
    NUMBER(tensor_f16_macs),
    NUMBER(tensor_other_macs),
    NUMBER(mma_sync_fraction),
    NUMBER(warp_interval_clocks),
    NUMBER(loads_in_flight),
    NUMBER(overlap_exponent),
    NUMBER(mma_overlap_exponent),
    NUMBER(atomic_us),
    NUMBER(wgmma_setup_us),
    NUMBER(launch_us),
    NUMBER(graph_node_us),
    NUMBER(host_link_gbs),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t schema = {CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct dev_profile, fields)};

/* Every number of a device is above zero; fractions are at most one. */
static enum mt_status check_values(const struct dev_profile *p, const char *path) {
    for (const cyaml_schema_field_t *f = fields; f->key; f++) {
        const char *at = (const char *)p + f->data_offset;
        bool good = true;
        if (f->value.type == CYAML_UINT) {
            unsigned count;
            memcpy(&count, at, sizeof count);
            good = count > 0 && count < 1u << 30;
        } else if (f->value.type == CYAML_FLOAT) {
            double number;
            memcpy(&number, at, sizeof number);
            good = number > 0 && number < 1e12;
        }
        if (!good)
            return fail(MT_USAGE, "%s: \"%s\" must be a number above zero", path, f->key);
    }
    if (p->memory_efficiency > 1 || p->mma_sync_fraction > 1)
        return fail(MT_USAGE, "%s: memory_efficiency and mma_sync_fraction are at most 1", path);
    return MT_OK;
}

enum mt_status dev_profile_load(const char *name, struct dev_profile **out) {
    struct str path = {0}, text = {0};
    struct yaml_fault fault;
    struct dev_profile *profile = NULL;
    *out = NULL;
    enum mt_status status = MT_OK;
    if (config_find("devices", name, "yaml", &path) != MT_OK) {
        status = fail_context(MT_NO_DEVICE, "no software device \"%s\"", name);
        goto out;
    }
    if ((status = file_read_text(path.data, FILE_TEXT_MOST, MT_USAGE, &text)) != MT_OK)
        goto out;
    if (!yaml_schema_load(&text, &schema, true, (void **)&profile, &fault)) {
        status = fail(MT_USAGE, "device file %s, line %d: %s", path.data, fault.line, fault.reason);
        goto out;
    }
    if (!profile) {
        status = fail(MT_USAGE, "device file %s: it is empty; copy one from configs/devices/ and change its numbers",
                      path.data);
        goto out;
    }
    if ((status = check_values(profile, path.data)) != MT_OK)
        goto out;
    profile->hash = XXH3_64bits(text.data, text.length);
    *out = profile;
    profile = NULL;
out:
    dev_profile_free(profile);
    str_release(&path);
    str_release(&text);
    return status;
}

void dev_profile_free(struct dev_profile *profile) {
    yaml_schema_free(&schema, profile);
}
