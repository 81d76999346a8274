-- Candidates that are not good, with the reason.
SELECT model, tp, layer, n, k, m, scheme, rows8, group_size, dtype, cache_state, outcome, origin,
       device_name, uuid, family, config, message
FROM asked_fact
WHERE state = 'current' AND outcome <> 'ok'
ORDER BY origin, device_name, uuid, model, tp, outcome, layer_order, rows8, scheme, m, config;
