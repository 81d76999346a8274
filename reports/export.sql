-- What goes into a bundle: the cold winners of one type of GPU and one origin that these kernel templates and this compiler made, and the
-- fastest library kernel beside each. Of several devices of the type, the newest measurement of each layer and batch size.
WITH library AS (
    SELECT device, n, k, m, dtype, cache_state, origin, family AS library_family, min(median_ns) AS library_ns
    FROM current
    WHERE outcome = 'ok' AND is_library
    GROUP BY device, n, k, m, dtype, cache_state, origin
), candidate AS (
    SELECT *, row_number() OVER (PARTITION BY model, tp, layer, n, k, group_size, scheme, dtype, m ORDER BY created DESC, id) AS place
    FROM asked LEFT JOIN library USING (device, n, k, m, dtype, cache_state, origin)
    WHERE device_name = :device AND cc = CAST(:cc AS INTEGER) AND sm_count = CAST(:sm_count AS INTEGER)
          AND origin = :origin AND cache_state = 'cold' AND template_hash = :templates AND nvrtc_version = CAST(:nvrtc AS INTEGER)
)
SELECT model, tp, layer, n AS "N", k AS "K", group_size AS "group", scheme, dtype, m AS "M", family, config, binary, median_ns,
       library_family, library_ns, driver_version AS driver, software
FROM candidate
WHERE place = 1
ORDER BY model, tp, layer_order, layer, n, k, group_size, scheme, dtype, m;
