-- The fastest configuration of each layer, batch size and scheme, beside the strongest baseline of the same origin: first the headline,
-- which counts the quantisation of the activations, with its share of the floor, then the same without.
-- Reads `asked`: the rows of the view headline that were asked for.
SELECT model, tp, layer, n, k, m, scheme, rows8, group_size, dtype, cache_state,
       median_ns, low_ns, high_ns, quantize_ns, baseline_family, baseline_ns,
       ratio_with_quantize, ratio_with_quantize_low, ratio_with_quantize_high, floor_share_with_quantize,
       ratio, ratio_low, ratio_high, floor_share, states_differ, baseline_lacks, missing, rejected, round(low_clock, 3) AS low_clock,
       origin, device_name, uuid, family, config, template_hash, time_model
FROM asked
ORDER BY origin, device_name, uuid, model, tp, dtype, group_size, cache_state, layer_order, rows8, scheme, m;
