-- Version 5: what each device can do at best, and how far from it the winners are.
-- What else changes with a new column, and why rows then get new keys, stands at the head of db/schema.sql.
--
--   device_limit  one limit of one device, as `mixtune probe` found it; tuner/measure/probe.h lists names and units. Rows are added, never edited.
--                 The device is the run's. A rate of a software device is its time model's, and so modelled like its times.
--   reach         of each device and origin, its newest limits side by side: the best rate of reading memory and of 8-bit
--                 multiplication, and what the reasons below are computed from
--   floor         each winner with a cold cache beside the time that it cannot beat, by the limits of its own device and origin:
--                   bytes        what has to move at least once: packed weights, their scales and zero points, 8-bit activations with
--                                scales and group sums, the output
--                   memory_ns    bytes over read_gbs
--                   tensor_ns    two operations for each of m n k, over int8_tops
--                   floor_ns     the larger, and `term` says which; gap_ns is how much longer the winner takes
--                   over_floor   the winner's time over floor_ns
--                 and the parts of the gap that can be counted:
--                   launch_ns    from launch to launch of a kernel that does nothing (in a graph below 20 us, as the timer does it)
--                   split_ns     partial sums of split-K, written and read again, over l2_gbs
--                   promote_ns   instruction slots that promotion takes for every accumulator and group, over the rate of `fma`:
--                                2 with promote=2, else 3, and one more on sm90 for the start value unless promote=0; or the
--                                conversions of promote=0 over their own rate, when that is more
--                   reason       the largest of launch, split-k, and promotion as far as it exceeds the floor; 'unknown' when it is
--                                less than a quarter of the gap
--
-- T4 files and merged databases carry device_limit too.

CREATE TABLE device_limit (
    id      INTEGER PRIMARY KEY,
    run     INTEGER NOT NULL REFERENCES run,
    name    TEXT NOT NULL CHECK (name <> ''),
    value   REAL NOT NULL CHECK (value > 0),
    unit    TEXT NOT NULL,
    origin  TEXT NOT NULL CHECK (origin IN ('measured', 'modelled')),
    created INTEGER NOT NULL
) STRICT;
CREATE INDEX device_limit_by_run ON device_limit (run);

CREATE TRIGGER device_limit_origin BEFORE INSERT ON device_limit
WHEN NEW.origin = 'measured' AND (SELECT software FROM run JOIN device ON device.id = run.device WHERE run.id = NEW.run)
BEGIN
    SELECT RAISE(ABORT, 'a limit of a software device is modelled, never measured');
END;

CREATE VIEW reach AS
SELECT device, origin,
       max(value) FILTER (WHERE name GLOB 'dram_read_*') AS read_gbs, max(value) FILTER (WHERE name = 'l2_read') AS l2_gbs,
       max(value) FILTER (WHERE name GLOB 'int8_*') AS int8_tops,
       max(value) FILTER (WHERE name = 'fma') AS fma_lanes, max(value) FILTER (WHERE name = 'convert') AS convert_lanes,
       max(value) FILTER (WHERE name = 'clock') AS clock_mhz,
       max(value) FILTER (WHERE name = 'launch') AS launch_us, max(value) FILTER (WHERE name = 'graph_node') AS graph_node_us
FROM (SELECT run.device, x.*, row_number() OVER (PARTITION BY run.device, origin, name ORDER BY created DESC, x.id) AS age
      FROM device_limit AS x JOIN run ON run.id = x.run)
WHERE age = 1
GROUP BY device, origin;

CREATE VIEW floor AS
WITH shape AS (
    SELECT *, (k + 127) / 128 * 128 AS k_padded,
           (n * CAST(round(25 * (CAST(substr(scheme, 2, instr(scheme, 'a8') - 2) AS REAL) - 4)) AS INTEGER) + 50) / 100 AS rows8,
           (SELECT value FROM knob WHERE knob.config = config_id AND name = 'promote') AS promote
    FROM winner WHERE cache_state = 'cold' AND scheme GLOB 'w*a8' AND group_size > 0
), padded AS (
    SELECT *, (k_padded + group_size - 1) / group_size AS groups, (rows8 + 15) / 16 * 16 AS padded8,
           (n - rows8 + 15) / 16 * 16 AS padded4
    FROM shape
), counted AS (
    SELECT padded.*, reach.*,
           padded8 * k_padded + padded4 * k_padded / 2 + groups * (2 * padded8 + 3 * padded4)
               + m * (k_padded + 8 * groups) + 2 * m * n AS bytes,
           2.0 * m * n * k AS operations, 1.0 * m * n * groups AS promotions, fma_lanes * sm_count * clock_mhz / 1e3 AS fma_per_ns,
           convert_lanes * sm_count * clock_mhz / 1e3 AS converted_per_ns
    FROM padded JOIN reach ON reach.device = padded.device AND reach.origin = padded.origin
), timed AS (
    SELECT *, bytes / read_gbs AS memory_ns, operations / (int8_tops * 1e3) AS tensor_ns,
           1e3 * iif(median_ns < 20000, graph_node_us, launch_us) AS launch_ns,
           iif(split_k > 1, 8.0 * split_k * m * n / l2_gbs, 0) AS split_ns,
           max(promotions * (iif(promote = 2, 2, 3) + (family = 'sm90' AND promote > 0)) / fma_per_ns,
               iif(promote = 0, promotions / converted_per_ns, 0)) AS promote_ns
    FROM counted
), bounded AS (
    SELECT *, max(memory_ns, tensor_ns) AS floor_ns, iif(memory_ns >= tensor_ns, 'memory', 'tensor') AS term FROM timed
), gaps AS (
    SELECT *, median_ns - floor_ns AS gap_ns, max(coalesce(promote_ns, 0) - floor_ns, 0) AS promote_gap_ns FROM bounded
)
SELECT id, device, device_name, uuid, origin, layer_id, model, layer, n, k, tp, m, scheme, group_size, dtype, family, config,
       median_ns, bytes, operations, memory_ns, tensor_ns, floor_ns, term, median_ns / floor_ns AS over_floor, gap_ns,
       launch_ns, split_ns, promote_ns,
       CASE WHEN max(launch_ns, split_ns, promote_gap_ns) < gap_ns / 4 THEN 'unknown'
            WHEN launch_ns >= max(split_ns, promote_gap_ns) THEN 'launch'
            WHEN split_ns >= promote_gap_ns THEN 'split-k'
            ELSE 'promotion' END AS reason
FROM gaps;
