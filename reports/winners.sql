-- The fastest configuration of each layer, batch size and scheme, beside the baseline of the same origin.
-- Reads `asked`: the rows of the view speedup that were asked for.
SELECT model, tp, layer, n, k, m, scheme, group_size, dtype, cache_state,
       median_ns, low_ns, high_ns, baseline_family, baseline_ns, ratio, ratio_low, ratio_high,
       quantize_ns, ratio_with_quantize, baseline_lacks, missing, rejected, round(low_clock, 3) AS low_clock,
       origin, device_name, uuid, family, config, template_hash, time_model
FROM asked
ORDER BY origin, device_name, uuid, model, tp, dtype, group_size, cache_state, layer_order, scheme, m;
