-- Version 3: winners need more than luck, and the price of quantising the activations stands beside them.
-- What else changes with a new column, and why rows then get new keys, stands at the head of db/schema.sql.
--
--   winner        configurations whose interval reaches into that of the fastest are equals too, not only those within 1 %
--   baseline      no longer sees the rows of family 'quantize'
--   quantisation  the time of quantising the activations of a batch, once per device, k, m, group, dtype, cache state and origin
--   speedup       has quantize_ns, and ratio_with_quantize: baseline against quantisation and winner together; NULL where unknown

DROP VIEW speedup;
DROP VIEW baseline;
DROP VIEW winner;

CREATE VIEW winner AS
SELECT *
FROM (SELECT *, row_number() OVER (PARTITION BY device, layer_id, m, scheme, group_size, dtype, cache_state, origin
                                   ORDER BY split_k, stages, smem_bytes, registers, family, config) AS place
      FROM (SELECT *, first_value(median_ns) OVER fastest AS fastest_ns, first_value(high_ns) OVER fastest AS fastest_high_ns
            FROM current WHERE outcome = 'ok' AND NOT is_baseline
            WINDOW fastest AS (PARTITION BY device, layer_id, m, scheme, group_size, dtype, cache_state, origin
                               ORDER BY median_ns, high_ns DESC))
      WHERE median_ns <= 1.01 * fastest_ns OR low_ns <= fastest_high_ns)
WHERE place = 1;

CREATE VIEW baseline AS
SELECT *
FROM (SELECT *, row_number() OVER (PARTITION BY device, n, k, m, dtype, cache_state, origin
                                   ORDER BY median_ns, family, config, layer_id) AS place
      FROM current WHERE outcome = 'ok' AND is_baseline AND family <> 'quantize')
WHERE place = 1;

CREATE VIEW quantisation AS
SELECT device, k, m, group_size, dtype, cache_state, origin, min(median_ns) AS quantize_ns
FROM current WHERE outcome = 'ok' AND family = 'quantize'
GROUP BY device, k, m, group_size, dtype, cache_state, origin;

CREATE VIEW speedup AS
SELECT winner.*, baseline.id AS baseline_id, baseline.family AS baseline_family, baseline.config AS baseline_config,
       baseline.median_ns AS baseline_ns, baseline.low_ns AS baseline_low_ns, baseline.high_ns AS baseline_high_ns,
       baseline.median_ns / winner.median_ns AS ratio,
       baseline.low_ns / winner.high_ns AS ratio_low,
       baseline.high_ns / winner.low_ns AS ratio_high,
       quantize_ns, baseline.median_ns / (winner.median_ns + quantize_ns) AS ratio_with_quantize
FROM winner
LEFT JOIN baseline USING (device, n, k, m, dtype, cache_state, origin)
LEFT JOIN quantisation USING (device, k, m, group_size, dtype, cache_state, origin);
