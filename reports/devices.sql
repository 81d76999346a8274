-- The devices and environments behind what is shown.
SELECT device_name, uuid, cc, sm_count, origin, driver_version, nvrtc_version, cublas_version, template_hash, time_model, clocks, count(*) AS measurements,
       datetime(min(created) / 1000000000, 'unixepoch') AS first, datetime(max(created) / 1000000000, 'unixepoch') AS last
FROM asked_fact
WHERE state = 'current'
GROUP BY device, origin, driver_version, nvrtc_version, cublas_version, template_hash, time_model, clocks
ORDER BY origin, device_name, uuid, last;
