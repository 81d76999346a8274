-- The winners over each peer in its fastest configuration: the mean over all layers and batch sizes, the worst, and how many are losses.
WITH best AS (
    SELECT *, min(peer_ns)
    FROM asked_peer
    WHERE winner_id IS NOT NULL
    GROUP BY winner_id, peer_family
)
SELECT model, tp, dtype, group_size, cache_state, scheme, substr(peer_family, 6) AS peer, count(*) AS shapes,
       avg(ratio) AS ratio, min(ratio) AS ratio_worst, sum(ratio < 1) AS losses, group_concat(DISTINCT peer_dtype) AS peer_dtype,
       origin, device_name, uuid
FROM best
GROUP BY origin, device, model, tp, dtype, group_size, cache_state, scheme, peer_family
ORDER BY origin, device_name, uuid, model, tp, dtype, group_size, cache_state, scheme, peer;
