-- The newest measurement of `mixtune bench`, beside the baseline of its shape and the quantisation of its activations, which are
-- measured before. :bytes is what a launch must move at the least.
SELECT x.model, x.tp, x.layer, x.n, x.k, x.m, x.scheme, x.rows8, x.group_size, x.dtype, x.cache_state,
       x.median_ns, x.low_ns, x.high_ns, x.sample_count, round(nullif(CAST(:bytes AS REAL), 0) / x.median_ns, 1) AS gb_per_s,
       baseline.family AS baseline_family, baseline.median_ns AS baseline_ns, quantize_ns,
       baseline.median_ns / (x.median_ns + quantize_ns) AS ratio_with_quantize, baseline.median_ns / x.median_ns AS ratio,
       baseline.lacks AS baseline_lacks, x.missing, x.rejected, round(x.low_clock, 3) AS low_clock,
       x.registers, x.smem_bytes, x.spill_bytes, x.origin, x.device_name, x.uuid, x.template_hash, x.time_model, x.family, x.config, x.outcome, x.message
FROM fact AS x
LEFT JOIN baseline ON baseline.device = x.device AND baseline.n = x.n AND baseline.k = x.k AND baseline.m = x.m AND baseline.dtype = x.dtype
                      AND baseline.cache_state = x.cache_state AND baseline.origin = x.origin AND x.family <> 'quantize'
LEFT JOIN quantisation ON quantisation.device = x.device AND quantisation.k = x.k AND quantisation.m = x.m
                          AND quantisation.group_size = x.group_size AND quantisation.dtype = x.dtype
                          AND quantisation.cache_state = x.cache_state AND quantisation.origin = x.origin AND x.family <> 'quantize'
ORDER BY x.created DESC
LIMIT 1;
