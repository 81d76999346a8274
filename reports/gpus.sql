-- The types of GPU with winners, and how many of them these kernel templates and this compiler made.
SELECT device_name, cc, sm_count, origin,
       sum(template_hash = :templates AND nvrtc_version = CAST(:nvrtc AS INTEGER)) AS usable
FROM asked
GROUP BY device_name, cc, sm_count, origin
ORDER BY origin, device_name;
