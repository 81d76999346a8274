-- What `mixtune show --regret` chooses from (tuner/report/regret.c): the layers with their formats, the winner at each of their splits, and
-- the time of every configuration there. Reads `asked` and `asked_fact`. Configurations whose 4-bit features have no zero points are of
-- other layers; where all features keep 8 bits there is no difference, so that split belongs to both.
CREATE TEMP TABLE split_layer AS
SELECT row_number() OVER (ORDER BY origin, device_name, uuid, model, tp, dtype, group_size, cache_state, symmetric, min(layer_order), layer, n, k) AS split_layer,
       origin, device_name, uuid, cache_state, time_model, model, tp, layer, n, k, group_size, dtype, symmetric
FROM (SELECT *, scheme GLOB '*-sym' AS symmetric FROM asked WHERE scheme <> 'w8a8')
GROUP BY origin, device_name, uuid, cache_state, time_model, model, tp, layer, n, k, group_size, dtype, symmetric;

CREATE TEMP TABLE split_winner AS
SELECT DISTINCT split_layer, rows8, m, config_id, median_ns AS ns
FROM asked AS a
JOIN split_layer AS s USING (origin, device_name, uuid, cache_state, model, tp, layer, n, k, group_size, dtype)
WHERE a.scheme = 'w8a8' OR s.symmetric = (a.scheme GLOB '*-sym')
ORDER BY split_layer, rows8, m;

CREATE TEMP TABLE split_time AS
SELECT split_layer, rows8, m, config_id, median_ns AS ns
FROM asked_fact AS f
JOIN split_layer AS s USING (origin, device_name, uuid, cache_state, model, tp, layer, n, k, group_size, dtype)
WHERE f.state = 'current' AND f.outcome = 'ok' AND NOT f.is_baseline AND NOT f.is_peer
      AND (f.scheme = 'w8a8' OR s.symmetric = (f.scheme GLOB '*-sym'));
CREATE INDEX temp.split_time_at ON split_time (split_layer, rows8, m, config_id);

-- What is chosen when at most `most` splits of a layer are tuned. ns is NULL where the configuration has no time, winner_ns where nothing was
-- tuned.
CREATE TEMP TABLE split_choice (
    split_layer INTEGER, most INTEGER, rows8 INTEGER, is_point INTEGER, m INTEGER, weight REAL, ns REAL, winner_ns REAL
);
