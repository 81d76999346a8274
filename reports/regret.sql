-- What it costs to tune at most `most` splits of each layer and to choose for the others among their neighbours' winners, in percent of the
-- time of the winner there, over all splits and batch sizes; a tuned split costs nothing. Sections: "splits", layer by layer, where at most
-- :most are tuned; "points", over all layers, for other numbers. `unknown`: the configuration that is chosen has no time at that split, so
-- what it costs is not known and not counted; `untuned`: the table names the split, and the database has no winner there.
-- Reads split_layer and split_choice (reports/splits.sql).
WITH cost AS (
    SELECT c.*, 100 * (ns / winner_ns - 1) AS percent, origin, device_name, uuid, cache_state, time_model, model, tp, group_size, dtype,
           symmetric, layer
    FROM split_choice AS c JOIN split_layer USING (split_layer)
), grouped AS (
    SELECT 'splits' AS section, *, split_layer AS part FROM cost WHERE most = CAST(:most AS INTEGER)
    UNION ALL
    SELECT 'splits', *, 1e9 FROM cost WHERE most = CAST(:most AS INTEGER)
    UNION ALL
    SELECT 'points', *, 1e9 FROM cost
), placed AS (
    SELECT *, sum(iif(percent IS NULL, 0, weight)) OVER (each ORDER BY percent, layer, rows8, m ROWS UNBOUNDED PRECEDING) AS below,
           sum(iif(percent IS NULL, 0, weight)) OVER each AS whole,
           row_number() OVER (each ORDER BY percent DESC, layer, rows8, m) AS place
    FROM grouped
    WINDOW each AS (PARTITION BY section, part, origin, device_name, uuid, cache_state, model, tp, group_size, dtype, symmetric, most)
)
SELECT section, model, tp, group_size, dtype, iif(symmetric, 'symmetric', '') AS zeros, cache_state,
       iif(part = 1e9, 'all', layer) AS layer, most, count(DISTINCT split_layer || ' ' || rows8) AS splits,
       count(DISTINCT iif(is_point, split_layer || ' ' || rows8, NULL)) AS points,
       round(sum(percent * weight) / max(whole), 2) AS mean_percent,
       round(min(percent) FILTER (WHERE below >= 0.95 * whole), 2) AS p95_percent,
       round(max(percent), 2) AS worst_percent,
       max(iif(place = 1 AND round(percent, 2) > 0, layer || ' ' || rows8 || ', m ' || m, '')) AS worst_at,
       count(*) FILTER (WHERE ns IS NULL AND winner_ns IS NOT NULL) AS unknown, count(*) FILTER (WHERE winner_ns IS NULL) AS untuned,
       origin, device_name, uuid, time_model
FROM placed AS p
GROUP BY origin, device_name, uuid, cache_state, model, tp, group_size, dtype, symmetric, section, part, most
ORDER BY origin, device_name, uuid, model, tp, dtype, group_size, cache_state, symmetric, section DESC, part, most;
