-- The stored sweeps that a search is replayed against: every current measurement that is neither baseline nor peer, problem by problem
-- in the order in which they were swept, the configurations of each in the order in which they were measured.
SELECT origin, device_name, uuid, cc, sm_count, cache_state, model, tp, layer, n, k, group_size,
       scheme, rows8, dtype, m, family, config, outcome, median_ns
FROM asked_fact
WHERE state = 'current' AND NOT is_baseline AND NOT is_peer
ORDER BY origin, device_name, uuid, cache_state, model, tp, layer_order, layer, n, k, group_size, rows8, scheme, dtype, m, created, id;
