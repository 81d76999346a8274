-- What `mixtune show --regret` leaves M out of (tuner/report/regret_m.c): every time of a layer in one format, its configurations in order of
-- simplicity (reports/export.sql has the same).
SELECT dense_rank() OVER (ORDER BY a.origin, a.device_name, a.uuid, a.model, a.tp, a.dtype, a.group_size, a.cache_state, a.layer_order, a.layer,
                                   a.n, a.k, a.rows8, a.scheme) AS token_layer,
       a.origin, a.device_name, a.uuid, a.cc, a.sm_count, a.cache_state, a.time_model, a.model, a.tp, a.layer, a.n, a.k, a.group_size, a.dtype,
       a.scheme, a.rows8, a.m, x.family, x.config, x.binary, x.median_ns,
       (SELECT group_concat(name || value) FROM (SELECT name, value FROM knob
                                                 WHERE knob.config = x.config_id AND name NOT IN ('raster', 'stream_k') ORDER BY name)) AS built
FROM asked AS a
JOIN asked_fact AS x USING (device, layer_id, m, scheme, rows8, group_size, dtype, cache_state, origin)
WHERE x.state = 'current' AND x.outcome = 'ok' AND NOT x.is_baseline AND NOT x.is_peer
ORDER BY token_layer, x.split_k, x.stages, x.smem_bytes, x.registers, x.family, x.config, a.m;
