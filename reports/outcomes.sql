-- How many candidates ended how.
SELECT origin, device_name, outcome, count(*) AS candidates
FROM asked_fact
WHERE state = 'current'
GROUP BY origin, device_name, outcome
ORDER BY origin, device_name, count(*) DESC;
