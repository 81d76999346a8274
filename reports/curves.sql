-- The curves of one set: winners beside the baseline, one line of the plot after the other.
SELECT layer, scheme, n AS "N", k AS "K", m AS "M", median_ns / 1000 AS time_us, low_ns / 1000 AS low_us, high_ns / 1000 AS high_us,
       baseline_ns / 1000 AS baseline_us, ratio, ratio_low, ratio_high, baseline_family AS baseline, family, config
FROM asked
WHERE origin = :origin AND uuid = :uuid AND device_name = :device AND model = :model AND tp = CAST(:tp AS INTEGER)
      AND dtype = :dtype AND group_size = CAST(:group AS INTEGER) AND cache_state = :cache
ORDER BY layer_order, n, k, scheme, m;
