-- What a layer takes with the winner of its next lower and its next higher rows8 at the same M: from these times a number of 8-bit features
-- that was not tuned gets its kernel. :kept are the winners that go into the bundle, columns of reports/export.sql as JSON objects.
WITH kept AS MATERIALIZED (
    SELECT value ->> 'model' AS model, CAST(value ->> 'tp' AS INTEGER) AS tp, value ->> 'layer' AS layer,
           CAST(value ->> 'n' AS INTEGER) AS n, CAST(value ->> 'k' AS INTEGER) AS k,
           CAST(value ->> 'group_size' AS INTEGER) AS group_size, value ->> 'dtype' AS dtype,
           CAST(value ->> 'rows8' AS INTEGER) AS rows8, value ->> 'scheme' AS scheme, CAST(value ->> 'm' AS INTEGER) AS m,
           value ->> 'family' AS family, value ->> 'config' AS config, CAST(value ->> 'device' AS INTEGER) AS device,
           CAST(value ->> 'layer_id' AS INTEGER) AS layer_id, value ->> 'cache_state' AS cache_state
    FROM json_each(:kept)
), split AS MATERIALIZED (
    SELECT DISTINCT model, tp, layer, n, k, group_size, dtype, rows8, scheme, rows8 = n AS wide, scheme GLOB '*-sym' AS symmetric
    FROM kept
), beside AS MATERIALIZED (
    SELECT model, tp, layer, n, k, group_size, dtype, here.rows8, here.scheme, other.rows8 AS other_rows8, other.scheme AS other_scheme
    FROM split AS here JOIN split AS other USING (model, tp, layer, n, k, group_size, dtype)
    WHERE here.rows8 <> other.rows8 AND (here.wide OR other.wide OR here.symmetric = other.symmetric)
          AND NOT EXISTS (SELECT 1
                          FROM split AS x
                          WHERE x.model = here.model AND x.tp = here.tp AND x.layer = here.layer AND x.n = here.n AND x.k = here.k
                                AND x.group_size = here.group_size AND x.dtype = here.dtype
                                AND x.rows8 > min(here.rows8, other.rows8) AND x.rows8 < max(here.rows8, other.rows8)
                                AND (here.wide OR x.symmetric = here.symmetric) AND (other.wide OR x.symmetric = other.symmetric))
)
SELECT DISTINCT here.model, here.tp, here.layer, here.n, here.k, here.group_size, here.scheme, here.rows8, here.dtype, here.m,
       x.family, x.config, x.median_ns
FROM beside
JOIN kept AS here USING (model, tp, layer, n, k, group_size, dtype, rows8, scheme)
JOIN kept AS other
    ON other.model = here.model AND other.tp = here.tp AND other.layer = here.layer AND other.n = here.n AND other.k = here.k
       AND other.group_size = here.group_size AND other.dtype = here.dtype AND other.rows8 = beside.other_rows8
       AND other.scheme = beside.other_scheme AND other.m = here.m
JOIN asked_fact AS x
    ON x.device = here.device AND x.layer_id = here.layer_id AND x.m = here.m AND x.scheme = here.scheme AND x.rows8 = here.rows8
       AND x.group_size = here.group_size AND x.dtype = here.dtype AND x.cache_state = here.cache_state
       AND x.family = other.family AND x.config = other.config
WHERE x.state = 'current' AND x.outcome = 'ok' AND x.origin = :origin
      AND NOT (here.family = other.family AND here.config = other.config)
ORDER BY here.model, here.tp, here.layer, here.n, here.k, here.group_size, here.rows8, here.scheme, here.dtype, here.m, x.family, x.config;
