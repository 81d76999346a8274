-- Each winner beside the time that it cannot beat, by the limits of its own device and origin (db/schema_5.sql, schema_8.sql).
-- Reads `asked`: the rows of the view headline that were asked for.
SELECT f.model, f.tp, f.layer, f.n, f.k, f.m, f.scheme, f.rows8, f.group_size, f.dtype, f.cache_state,
       f.median_ns, f.floor_ns, over_floor, term, memory_ns, tensor_ns, gap_ns, launch_ns, split_ns, promote_ns, reason,
       f.origin, f.device_name, f.uuid, f.family, f.config, time_model
FROM floor AS f JOIN asked USING (id)
ORDER BY f.origin, f.device_name, f.uuid, f.model, f.tp, f.dtype, f.group_size, f.cache_state, layer_order, f.rows8, f.scheme, f.m;
