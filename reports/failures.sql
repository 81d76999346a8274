-- Candidates that are not good, with the reason.
SELECT model, tp, layer, n AS "N", k AS "K", m AS "M", scheme, group_size AS "group", dtype, cache_state AS cache,
       outcome, origin, device_name AS device, uuid, family, config, message
FROM asked_fact
WHERE state = 'current' AND outcome <> 'ok'
ORDER BY origin, device_name, uuid, model, tp, outcome, layer_order, scheme, m, config;
