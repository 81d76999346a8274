-- Every measurement, also what does not count: `state` is current, replaced (a newer one of the same candidate exists) or stale.
SELECT model, tp, layer, n AS "N", k AS "K", m AS "M", scheme, group_size AS "group", dtype, cache_state AS cache,
       outcome, median_ns / 1000 AS time_us, low_ns / 1000 AS low_us, high_ns / 1000 AS high_us, sample_count AS samples, rejected, round(low_clock, 3) AS low_clock, missing,
       origin, state, datetime(created / 1000000000, 'unixepoch') AS recorded, registers, smem_bytes, spill_bytes,
       device_name AS device, uuid, driver_version AS driver, nvrtc_version AS nvrtc, cublas_version AS cublas,
       template_hash AS templates, family, config, message
FROM asked_fact
ORDER BY origin, device_name, uuid, model, tp, dtype, group_size, cache_state, layer_order, scheme, m, median_ns IS NULL, median_ns,
         created;
