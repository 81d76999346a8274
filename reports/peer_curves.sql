-- The curves of one set: the winner over each peer, in its fastest configuration.
SELECT layer, iif(rows8 IN (0, n), scheme, replace(printf('p%.1f', 100.0 * rows8 / n), '.0', '') || replace(scheme, 'mixed', '')) AS scheme,
       substr(peer_family, 6) AS peer, n, m, min(peer_ns) / 1000 AS peer_us, median_ns / 1000 AS median_us,
       ratio, ratio_low, ratio_high, peer_dtype, peer_config, config
FROM asked_peer
WHERE origin = :origin AND uuid = :uuid AND device_name = :device_name AND model = :model AND tp = CAST(:tp AS INTEGER)
      AND dtype = :dtype AND group_size = CAST(:group_size AS INTEGER) AND cache_state = :cache_state AND winner_id IS NOT NULL
GROUP BY winner_id, peer_family
ORDER BY layer_order, layer, scheme, peer, m;
