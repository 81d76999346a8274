-- What it costs to look up between tuned M, in percent of the fastest kernel that was timed there. `noise`: the percent that every stored time
-- was scattered by before winners were chosen and looked up; what they cost is told by the times as they are. `unknown`: what was chosen has
-- no time at that M. Reads token_layer and token_choice (tuner/report/regret_m.c).
WITH cost AS (
    SELECT c.*, 100 * (ns / best_ns - 1) AS percent, l.*
    FROM token_choice AS c JOIN token_layer AS l USING (token_layer)
), grouped AS (
    SELECT *, token_layer AS part FROM cost
    UNION ALL
    SELECT *, 1e9 FROM cost
), placed AS (
    SELECT *, row_number() OVER (each ORDER BY percent) - count(*) FILTER (WHERE percent IS NULL) OVER each AS below,
           count(percent) OVER each AS whole, row_number() OVER (each ORDER BY percent DESC, layer, m) AS place
    FROM grouped
    WINDOW each AS (PARTITION BY part, noise, origin, device_name, uuid, cache_state, model, tp, group_size, dtype)
)
SELECT 'm' AS section, model, tp, group_size, dtype, cache_state, iif(part = 1e9, 'all', layer) AS layer,
       iif(part = 1e9, '', scheme) AS scheme, iif(part = 1e9, '', rows8) AS rows8, noise AS noise_percent, max(tuned) AS tuned,
       count(DISTINCT m) AS asked, round(avg(percent), 2) AS mean_percent,
       round(min(percent) FILTER (WHERE below >= 0.95 * whole), 2) AS p95_percent, round(max(percent), 2) AS worst_percent,
       max(iif(place = 1 AND round(percent, 2) > 0, layer || ' ' || scheme || ', m ' || m, '')) AS worst_at,
       count(*) FILTER (WHERE percent IS NULL) AS unknown, origin, device_name, uuid, time_model
FROM placed
GROUP BY origin, device_name, uuid, cache_state, model, tp, group_size, dtype, noise, part
ORDER BY origin, device_name, uuid, model, tp, dtype, group_size, cache_state, noise, part;
