-- Each winner beside the time that it cannot beat, by the limits of its own device and origin (db/schema_5.sql).
-- Reads `asked`: the rows of the view speedup that were asked for.
SELECT f.model, f.tp, f.layer, f.n AS "N", f.k AS "K", f.m AS "M", f.scheme, f.group_size AS "group", f.dtype,
       f.median_ns / 1000 AS time_us, floor_ns / 1000 AS floor_us, over_floor AS ratio_floor, term,
       memory_ns / 1000 AS memory_us, tensor_ns / 1000 AS tensor_us, gap_ns / 1000 AS gap_us, launch_ns / 1000 AS launch_us,
       split_ns / 1000 AS split_us, promote_ns / 1000 AS promote_us, reason,
       f.origin, f.device_name AS device, f.uuid, f.family, f.config
FROM floor AS f JOIN asked USING (id)
ORDER BY f.origin, f.device_name, f.uuid, f.model, f.tp, f.dtype, f.group_size, layer_order, f.scheme, f.m;
