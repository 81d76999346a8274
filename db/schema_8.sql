-- Version 8: the one definition of a headline, and ratios whose two sides were measured in different states of the device.
-- What else changes with a new column, and why rows then get new keys, stands at the head of db/schema.sql.
--
-- A headline is a speed-up over the strongest fp16 kernel that there is, in the state of the caches that serving has, with the time of
-- quantising the activations counted, beside its share of the floor. The figure without quantising stands second, beside its own share.
--
--   floor         winners of the states serving and cold. What has to move in a serving cache is the weights alone: activations were just
--                 written, and the output is read by the next kernel
--   quantisation  has the interval of quantize_ns, and the state of the device at its time
--   speedup       has the interval of ratio_with_quantize; states_differ = 1: winner, baseline and quantisation do not have one state of the
--                 device: power limit, reasons to throttle, clocks (2 % of the SM's are allowed; those of an idle device say nothing), or
--                 samples of one side were at a low clock (low_clock, 3 % allowed). What is not known differs from nothing
--   headline      speedup with floor_ns, floor_share (of the winner's time) and floor_share_with_quantize, NULL where the device has no
--                 limits. is_headline = 1: the row of its problem that is told unless another state of the caches is asked for: that of the
--                 state serving, else cold (as on a software device and before version 7), else hot

DROP VIEW floor;
DROP VIEW speedup;
DROP VIEW quantisation;

CREATE VIEW quantisation AS
SELECT device, k, m, group_size, dtype, cache_state, origin, median_ns AS quantize_ns, low_ns AS quantize_low_ns, high_ns AS quantize_high_ns,
       clocks AS quantize_clocks, low_clock AS quantize_low_clock
FROM (SELECT *, row_number() OVER (PARTITION BY device, k, m, group_size, dtype, cache_state, origin ORDER BY median_ns, id) AS place
      FROM current WHERE outcome = 'ok' AND family = 'quantize')
WHERE place = 1;

CREATE VIEW speedup AS
SELECT winner.*, baseline.id AS baseline_id, baseline.family AS baseline_family, baseline.config AS baseline_config,
       baseline.median_ns AS baseline_ns, baseline.low_ns AS baseline_low_ns, baseline.high_ns AS baseline_high_ns,
       baseline.lacks AS baseline_lacks,
       baseline.median_ns / winner.median_ns AS ratio,
       baseline.low_ns / winner.high_ns AS ratio_low,
       baseline.high_ns / winner.low_ns AS ratio_high,
       quantize_ns, baseline.median_ns / (winner.median_ns + quantize_ns) AS ratio_with_quantize,
       baseline.low_ns / (winner.high_ns + quantize_high_ns) AS ratio_with_quantize_low,
       baseline.high_ns / (winner.low_ns + quantize_low_ns) AS ratio_with_quantize_high,
       coalesce((SELECT count(DISTINCT power) > 1 OR count(DISTINCT memory) > 1 OR count(DISTINCT throttle) > 1
                        OR coalesce(max(sm) > 1.02 * min(sm), 0)
                 FROM (SELECT json_extract(clocks, '$.power_limit_w') AS power,
                              replace(replace(json_extract(clocks, '$.throttle'), '"idle",', ''), '"idle"', '') AS throttle,
                              iif(instr(clocks, '"idle"'), NULL, json_extract(clocks, '$.memory_mhz')) AS memory,
                              iif(instr(clocks, '"idle"'), NULL, json_extract(clocks, '$.sm_mhz')) AS sm
                       FROM (SELECT winner.clocks AS clocks UNION SELECT baseline.clocks UNION SELECT quantize_clocks)
                       WHERE json_valid(clocks))), 0)
       OR coalesce(abs(coalesce(winner.low_clock, 1) - coalesce(baseline.low_clock, 1)) > 0.03 AND baseline.id IS NOT NULL, 0)
       OR coalesce(abs(coalesce(winner.low_clock, 1) - coalesce(quantize_low_clock, 1)) > 0.03 AND quantize_ns IS NOT NULL, 0)
           AS states_differ
FROM winner
LEFT JOIN baseline USING (device, n, k, m, dtype, cache_state, origin)
LEFT JOIN quantisation USING (device, k, m, group_size, dtype, cache_state, origin);

CREATE VIEW floor AS
WITH shape AS (
    SELECT *, (k + 127) / 128 * 128 AS k_padded,
           (n * CAST(round(25 * (CAST(substr(scheme, 2, instr(scheme, 'a8') - 2) AS REAL) - 4)) AS INTEGER) + 50) / 100 AS rows8,
           (SELECT value FROM knob WHERE knob.config = config_id AND name = 'promote') AS promote
    FROM winner WHERE cache_state IN ('serving', 'cold') AND scheme GLOB 'w*a8' AND group_size > 0
), padded AS (
    SELECT *, (k_padded + group_size - 1) / group_size AS groups, (rows8 + 15) / 16 * 16 AS padded8,
           (n - rows8 + 15) / 16 * 16 AS padded4
    FROM shape
), counted AS (
    SELECT padded.*, reach.*,
           padded8 * k_padded + padded4 * k_padded / 2 + groups * (2 * padded8 + 3 * padded4)
               + iif(cache_state = 'cold', m * (k_padded + 8 * groups) + 2 * m * n, 0) AS bytes,
           2.0 * m * n * k AS operations, 1.0 * m * n * groups AS promotions, fma_lanes * sm_count * clock_mhz / 1e3 AS fma_per_ns,
           convert_lanes * sm_count * clock_mhz / 1e3 AS converted_per_ns
    FROM padded JOIN reach ON reach.device = padded.device AND reach.origin = padded.origin
), timed AS (
    SELECT *, bytes / read_gbs AS memory_ns, operations / (int8_tops * 1e3) AS tensor_ns,
           1e3 * iif(median_ns < 20000, graph_node_us, launch_us) AS launch_ns,
           iif(split_k > 1, 8.0 * split_k * m * n / l2_gbs, 0) AS split_ns,
           max(promotions * (iif(promote = 2, 2, 3) + (family = 'sm90' AND promote > 0)) / fma_per_ns,
               iif(promote = 0, promotions / converted_per_ns, 0)) AS promote_ns
    FROM counted
), bounded AS (
    SELECT *, max(memory_ns, tensor_ns) AS floor_ns, iif(memory_ns >= tensor_ns, 'memory', 'tensor') AS term FROM timed
), gaps AS (
    SELECT *, median_ns - floor_ns AS gap_ns, max(coalesce(promote_ns, 0) - floor_ns, 0) AS promote_gap_ns FROM bounded
)
SELECT id, device, device_name, uuid, origin, layer_id, model, layer, n, k, tp, m, scheme, group_size, dtype, cache_state, family, config,
       median_ns, bytes, operations, memory_ns, tensor_ns, floor_ns, term, median_ns / floor_ns AS over_floor, gap_ns,
       launch_ns, split_ns, promote_ns,
       CASE WHEN max(launch_ns, split_ns, promote_gap_ns) < gap_ns / 4 THEN 'unknown'
            WHEN launch_ns >= max(split_ns, promote_gap_ns) THEN 'launch'
            WHEN split_ns >= promote_gap_ns THEN 'split-k'
            ELSE 'promotion' END AS reason
FROM gaps;

CREATE VIEW headline AS
SELECT speedup.*, floor.floor_ns, floor.floor_ns / speedup.median_ns AS floor_share,
       floor.floor_ns / (speedup.median_ns + speedup.quantize_ns) AS floor_share_with_quantize,
       speedup.cache_state = first_value(speedup.cache_state)
           OVER (PARTITION BY speedup.device, speedup.layer_id, speedup.m, speedup.scheme, speedup.group_size, speedup.dtype, speedup.origin
                 ORDER BY speedup.cache_state <> 'serving', speedup.cache_state <> 'cold') AS is_headline
FROM speedup LEFT JOIN floor ON floor.id = speedup.id;
