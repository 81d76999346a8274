-- What may go into a bundle: the winners, in the state of the caches that headlines are told in, of one type of GPU and one origin that these kernel templates and this compiler made, what
-- is within 1 % of each in order of simplicity (tuner/report/winner_set.h keeps one of them), and beside them the headline's strongest fp16
-- baseline and the quantisation of the activations.
-- Of several devices of the type, the newest measurement of each layer and batch size.
WITH candidate AS (
    SELECT *, row_number() OVER (PARTITION BY model, tp, layer, n, k, group_size, scheme, rows8, dtype, m ORDER BY is_headline DESC, created DESC, id) AS place
    FROM asked
    WHERE device_name = :device AND cc = CAST(:cc AS INTEGER) AND sm_count = CAST(:sm_count AS INTEGER)
          AND origin = :origin AND template_hash = :templates AND nvrtc_version = CAST(:nvrtc AS INTEGER)
)
SELECT c.model, c.tp, c.layer, c.n, c.k, c.group_size, c.scheme, c.rows8, c.dtype, c.m, x.family, x.config,
       x.binary, x.median_ns, c.quantize_ns, c.baseline_family, c.baseline_ns, c.baseline_lacks, x.driver_version, c.software, c.device, c.layer_id, c.cache_state
FROM candidate AS c
JOIN asked_fact AS x USING (device, layer_id, m, scheme, rows8, group_size, dtype, cache_state, origin)
WHERE c.place = 1 AND x.state = 'current' AND x.outcome = 'ok' AND NOT x.is_baseline AND NOT x.is_peer
      AND (x.median_ns <= 1.01 * c.fastest_ns OR x.low_ns <= c.fastest_high_ns)
ORDER BY c.model, c.tp, c.layer_order, c.layer, c.n, c.k, c.group_size, c.rows8, c.scheme, c.dtype, c.m,
         x.split_k, x.stages, x.smem_bytes, x.registers, x.family, x.config;
