-- What one set of plots shows: one device, origin, model and format; measured and modelled times are never in one set.
SELECT DISTINCT origin, device_name, uuid, model, tp, dtype, group_size, cache_state, time_model
FROM asked
ORDER BY origin, device_name, uuid, model, tp, dtype, group_size, cache_state;
