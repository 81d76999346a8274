-- The curves of one set: the winner over each peer, in its fastest configuration. For gnuplot, whose rules for texts are
-- not those of CSV, numbers stand first: layer_at, scheme_at and peer_at count the different names in their order of appearance.
WITH curve AS (
    SELECT *, iif(rows8 IN (0, n), scheme, replace(printf('p%.1f', 100.0 * rows8 / n), '.0', '') || replace(scheme, 'mixed', '')) AS word,
           substr(peer_family, 6) AS peer, min(peer_ns) / 1000 AS peer_us
    FROM asked_peer
    WHERE origin = :origin AND uuid = :uuid AND device_name = :device_name AND model = :model AND tp = CAST(:tp AS INTEGER)
          AND dtype = :dtype AND group_size = CAST(:group_size AS INTEGER) AND cache_state = :cache_state AND winner_id IS NOT NULL
    GROUP BY winner_id, peer_family
), placed AS (
    SELECT *, row_number() OVER (ORDER BY layer_order, layer, word, peer, m) AS turn FROM curve
), first AS (
    SELECT *, min(turn) OVER (PARTITION BY layer) AS layer_first, min(turn) OVER (PARTITION BY word) AS word_first,
           min(turn) OVER (PARTITION BY peer) AS peer_first
    FROM placed
)
SELECT dense_rank() OVER (ORDER BY layer_first) AS layer_at, dense_rank() OVER (ORDER BY word_first) AS scheme_at,
       dense_rank() OVER (ORDER BY peer_first) AS peer_at, CAST(n AS INTEGER) AS n, CAST(m AS INTEGER) AS m, peer_us,
       median_ns / 1000 AS median_us, ratio, ratio_low, ratio_high, layer, word AS scheme, peer, peer_dtype, peer_config, config
FROM first
ORDER BY turn;
