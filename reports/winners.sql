-- The fastest configuration of each layer, batch size and scheme, beside the baseline of the same origin.
-- Reads `asked`: the rows of the view speedup that were asked for.
SELECT model, tp, layer, n AS "N", k AS "K", m AS "M", scheme, group_size AS "group", dtype, cache_state AS cache,
       median_ns / 1000 AS time_us, low_ns / 1000 AS low_us, high_ns / 1000 AS high_us,
       baseline_family AS baseline, baseline_ns / 1000 AS baseline_us, ratio, ratio_low, ratio_high,
       quantize_ns / 1000 AS quantize_us, ratio_with_quantize, baseline_lacks, missing, rejected, round(low_clock, 3) AS low_clock,
       origin, device_name AS device, uuid, family, config, template_hash AS templates
FROM asked
ORDER BY origin, device_name, uuid, model, tp, dtype, group_size, cache_state, layer_order, scheme, m;
