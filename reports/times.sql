-- What a layer takes with kernels that did not win there: at the same M with the winners of its next lower and its next higher rows8, and
-- with those of its own two next lower and two next higher M. From these times the library tells what runs between. :kept are the winners
-- that go into the bundle, columns of reports/export.sql as JSON objects. A kernel that cannot walk its tiles there as it did where it won
-- (raster, stream_k) runs all the same, so the quickest other walk of the same binary stands for it.
WITH kept AS MATERIALIZED (
    SELECT value ->> 'model' AS model, CAST(value ->> 'tp' AS INTEGER) AS tp, value ->> 'layer' AS layer,
           CAST(value ->> 'n' AS INTEGER) AS n, CAST(value ->> 'k' AS INTEGER) AS k,
           CAST(value ->> 'group_size' AS INTEGER) AS group_size, value ->> 'dtype' AS dtype,
           CAST(value ->> 'rows8' AS INTEGER) AS rows8, value ->> 'scheme' AS scheme, CAST(value ->> 'm' AS INTEGER) AS m,
           value ->> 'family' AS family, value ->> 'config' AS config, CAST(value ->> 'device' AS INTEGER) AS device,
           CAST(value ->> 'layer_id' AS INTEGER) AS layer_id, value ->> 'cache_state' AS cache_state
    FROM json_each(:kept)
), ranked AS MATERIALIZED (
    SELECT *, row_number() OVER (PARTITION BY model, tp, layer, n, k, group_size, dtype, rows8, scheme ORDER BY m) AS place
    FROM kept
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
), plain AS MATERIALIZED (
    SELECT id, family, config, group_concat(name || value) AS built
    FROM (SELECT c.id, c.family, c.config, knob.name, knob.value
          FROM config AS c JOIN knob ON knob.config = c.id
          WHERE knob.name NOT IN ('raster', 'stream_k')
          ORDER BY c.id, knob.name)
    GROUP BY id
), walk AS MATERIALIZED (
    SELECT won.family, won.config, other.id AS other_id
    FROM plain AS won JOIN plain AS other USING (family, built)
    WHERE (won.family, won.config) IN (SELECT family, config FROM kept)
), pair AS MATERIALIZED (
    SELECT here.*, other.family AS other_family, other.config AS other_config
    FROM beside
    JOIN kept AS here USING (model, tp, layer, n, k, group_size, dtype, rows8, scheme)
    JOIN kept AS other
        ON other.model = here.model AND other.tp = here.tp AND other.layer = here.layer AND other.n = here.n AND other.k = here.k
           AND other.group_size = here.group_size AND other.dtype = here.dtype AND other.rows8 = beside.other_rows8
           AND other.scheme = beside.other_scheme AND other.m = here.m
    UNION
    SELECT here.model, here.tp, here.layer, here.n, here.k, here.group_size, here.dtype, here.rows8, here.scheme, here.m, here.family,
           here.config, here.device, here.layer_id, here.cache_state, other.family, other.config
    FROM ranked AS here JOIN ranked AS other USING (model, tp, layer, n, k, group_size, dtype, rows8, scheme)
    WHERE abs(here.place - other.place) BETWEEN 1 AND 2
), walked AS (
    SELECT here.*, x.median_ns,
           row_number() OVER (PARTITION BY here.model, here.tp, here.layer, here.n, here.k, here.group_size, here.dtype, here.rows8,
                                           here.scheme, here.m, other_family, other_config
                              ORDER BY x.config <> other_config, x.median_ns) AS place
    FROM pair AS here
    JOIN walk ON walk.family = other_family AND walk.config = other_config
    JOIN asked_fact AS x
        ON x.device = here.device AND x.layer_id = here.layer_id AND x.m = here.m AND x.scheme = here.scheme AND x.rows8 = here.rows8
           AND x.group_size = here.group_size AND x.dtype = here.dtype AND x.cache_state = here.cache_state
           AND x.family = other_family AND x.config_id = walk.other_id
    WHERE x.state = 'current' AND x.outcome = 'ok' AND x.origin = :origin
          AND NOT (here.family = other_family AND here.config = other_config)
)
SELECT model, tp, layer, n, k, group_size, scheme, rows8, dtype, m, other_family AS family, other_config AS config, median_ns
FROM walked
WHERE place = 1
ORDER BY model, tp, layer, n, k, group_size, rows8, scheme, dtype, m, family, config;
