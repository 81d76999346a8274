-- Every current time of a peer beside the winner of the same shape, losses included: ratio > 1 says that the winner is faster.
-- Reads `asked_peer`: the rows of the view peer that were asked for.
SELECT model, tp, layer, n, k, m, scheme, rows8, group_size, dtype, cache_state,
       substr(peer_family, 6) AS peer, peer_dtype, peer_ns, median_ns, ratio, ratio_low, ratio_high,
       origin, device_name, uuid, peer_config, family, config
FROM asked_peer
ORDER BY origin, device_name, uuid, model, tp, dtype, group_size, cache_state, layer_order, layer, rows8, scheme, m, peer_ns, peer_config;
