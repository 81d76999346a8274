-- Every current time of a peer beside the winner of the same shape, losses included: ratio > 1 says that the winner is faster.
-- Reads `asked_peer`: the rows of the view peer that were asked for.
SELECT model, tp, layer, n AS "N", k AS "K", m AS "M", scheme, group_size AS "group", dtype, cache_state AS cache,
       substr(peer_family, 6) AS peer, peer_dtype, peer_ns / 1000 AS peer_us, median_ns / 1000 AS time_us, ratio, ratio_low, ratio_high,
       origin, device_name AS device, uuid, peer_config, family, config
FROM asked_peer
ORDER BY origin, device_name, uuid, model, tp, dtype, group_size, cache_state, layer_order, layer, scheme, m, peer_ns, peer_config;
