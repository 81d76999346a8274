-- Every measurement, also what does not count: `state` is current, replaced (a newer one of the same candidate exists) or stale.
SELECT model, tp, layer, n, k, m, scheme, rows8, group_size, dtype, cache_state,
       outcome, median_ns, low_ns, high_ns, sample_count, rejected, round(low_clock, 3) AS low_clock, missing,
       origin, state, datetime(created / 1000000000, 'unixepoch') AS recorded, registers, smem_bytes, spill_bytes,
       device_name, uuid, driver_version, nvrtc_version, cublas_version, template_hash, time_model, family, config, message
FROM asked_fact
ORDER BY origin, device_name, uuid, model, tp, dtype, group_size, cache_state, layer_order, rows8, scheme, m, median_ns IS NULL, median_ns,
         created;
