-- The devices and environments behind what is shown.
SELECT device_name AS device, uuid, cc, sm_count AS "SMs", origin, driver_version AS driver, nvrtc_version AS nvrtc,
       cublas_version AS cublas, template_hash AS templates, clocks, count(*) AS measurements,
       datetime(min(created) / 1000000000, 'unixepoch') AS first, datetime(max(created) / 1000000000, 'unixepoch') AS last
FROM asked_fact
WHERE state = 'current'
GROUP BY device, origin, driver_version, nvrtc_version, cublas_version, template_hash, clocks
ORDER BY origin, device_name, uuid, last;
