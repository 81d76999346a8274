-- The curves of one set: winners beside the baseline, one line of the plot after the other.
-- A word tells splits of a layer apart, by the share of features in 8 bits: p10, p33.3-sym.
-- For gnuplot, whose rules for texts are not those of CSV, numbers stand first: layer_at and scheme_at count the different
-- names in their order of appearance.
WITH curve AS (
    SELECT *, iif(rows8 IN (0, n), scheme, replace(printf('p%.1f', 100.0 * rows8 / n), '.0', '') || replace(scheme, 'mixed', '')) AS word,
           row_number() OVER (ORDER BY layer_order, n, k, rows8, asked.scheme, m) AS turn
    FROM asked
    WHERE origin = :origin AND uuid = :uuid AND device_name = :device_name AND model = :model AND tp = CAST(:tp AS INTEGER)
          AND dtype = :dtype AND group_size = CAST(:group_size AS INTEGER) AND cache_state = :cache_state
), first AS (
    SELECT *, min(turn) OVER (PARTITION BY layer) AS layer_first, min(turn) OVER (PARTITION BY word) AS word_first FROM curve
)
SELECT dense_rank() OVER (ORDER BY layer_first) AS layer_at, dense_rank() OVER (ORDER BY word_first) AS scheme_at,
       CAST(n AS INTEGER) AS n, CAST(k AS INTEGER) AS k, CAST(m AS INTEGER) AS m, median_ns / 1000 AS median_us, low_ns / 1000 AS low_us, high_ns / 1000 AS high_us,
       baseline_ns / 1000 AS baseline_us, ratio, ratio_low, ratio_high,
       ratio_with_quantize, ratio_with_quantize_low, ratio_with_quantize_high, floor_share, floor_share_with_quantize, states_differ,
       quantize_ns / 1000 AS quantize_us, layer, word AS scheme, baseline_family, family, config
FROM first
ORDER BY turn;
