-- All kernels that were timed where a winner stands, for the orders in which they add up (tuner/bundle/tree_set.h). :kept are the winners that
-- go into the bundle, columns of reports/export.sql as JSON objects; `row` counts them from 0.
WITH kept AS MATERIALIZED (
    SELECT key AS row, value ->> 'model' AS model, CAST(value ->> 'tp' AS INTEGER) AS tp, value ->> 'layer' AS layer,
           CAST(value ->> 'n' AS INTEGER) AS n, CAST(value ->> 'k' AS INTEGER) AS k,
           CAST(value ->> 'group_size' AS INTEGER) AS group_size, value ->> 'dtype' AS dtype,
           CAST(value ->> 'rows8' AS INTEGER) AS rows8, value ->> 'scheme' AS scheme, CAST(value ->> 'm' AS INTEGER) AS m,
           CAST(value ->> 'device' AS INTEGER) AS device, CAST(value ->> 'layer_id' AS INTEGER) AS layer_id,
           value ->> 'cache_state' AS cache_state, value ->> 'quantize_ns' AS quantize_ns, value ->> 'software' AS software,
           value ->> 'driver_version' AS driver_version
    FROM json_each(:kept)
)
SELECT kept.row, kept.model, kept.tp, kept.layer, kept.n, kept.k, kept.group_size, kept.scheme, kept.rows8, kept.dtype, kept.m,
       x.family, x.config, x.binary, x.median_ns, kept.quantize_ns, kept.driver_version, kept.software, kept.device, kept.layer_id,
       kept.cache_state
FROM kept
JOIN asked_fact AS x
    ON x.device = kept.device AND x.layer_id = kept.layer_id AND x.m = kept.m AND x.scheme = kept.scheme AND x.rows8 = kept.rows8
       AND x.group_size = kept.group_size AND x.dtype = kept.dtype AND x.cache_state = kept.cache_state
WHERE x.state = 'current' AND x.outcome = 'ok' AND NOT x.is_baseline AND NOT x.is_peer AND x.origin = :origin
ORDER BY kept.row, x.split_k, x.stages, x.smem_bytes, x.registers, x.family, x.config;
