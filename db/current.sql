-- The database as version 10 has it: db/schema.sql and all steps after it, as one. What tables and views
-- mean stands at the heads of the steps. For people: the program never reads this file. To change it, add
-- a step and run `make db/current.sql`; tests/unit/db/test_schema.c compares.

CREATE TABLE device (
    id       INTEGER PRIMARY KEY,
    uuid     TEXT NOT NULL,
    name     TEXT NOT NULL CHECK (name <> ''),
    cc       INTEGER NOT NULL,
    sm_count INTEGER NOT NULL,
    software INTEGER NOT NULL CHECK (software IN (0, 1)),
    UNIQUE (uuid, name, cc, sm_count, software)
) STRICT;

CREATE TABLE run (
    id          INTEGER PRIMARY KEY,
    device      INTEGER NOT NULL REFERENCES device,
    environment INTEGER NOT NULL REFERENCES environment,
    command     TEXT NOT NULL, -- for people
    started     INTEGER NOT NULL
, missing TEXT NOT NULL DEFAULT '', nvrtc TEXT NOT NULL DEFAULT '', confirms INTEGER NOT NULL DEFAULT 0 CHECK (confirms IN (0, 1))) STRICT;

CREATE INDEX run_by_device ON run (device, started);

CREATE TABLE layer (
    id    INTEGER PRIMARY KEY,
    model TEXT NOT NULL, -- '' for a bare shape
    layer TEXT NOT NULL,
    n     INTEGER NOT NULL CHECK (n > 0),
    k     INTEGER NOT NULL CHECK (k > 0),
    tp    INTEGER NOT NULL CHECK (tp > 0),
    UNIQUE (model, layer, n, k, tp)
) STRICT;

CREATE TABLE config (
    id     INTEGER PRIMARY KEY,
    family TEXT NOT NULL CHECK (family <> ''),
    config TEXT NOT NULL, -- 'tile_n=128,stages=4,...', all knobs in the order of the registry; '' for a library kernel
    library INTEGER NOT NULL GENERATED ALWAYS AS (family IN ('cublas', 'cublaslt-best')),
    UNIQUE (family, config)
) STRICT;

CREATE TABLE knob (
    config INTEGER NOT NULL REFERENCES config,
    name   TEXT NOT NULL,
    value  INTEGER NOT NULL,
    PRIMARY KEY (config, name)
) STRICT, WITHOUT ROWID;

CREATE INDEX knob_by_name ON knob (name, value);

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

CREATE TABLE environment (
    id             INTEGER PRIMARY KEY,
    driver_version INTEGER NOT NULL,
    nvrtc_version  INTEGER NOT NULL,
    template_hash  TEXT NOT NULL,
    cublas_version TEXT NOT NULL, -- '' if there was none
    clocks         TEXT NOT NULL, -- JSON, '' if unknown
    time_model     TEXT NOT NULL, -- '' where times are measured
    UNIQUE (driver_version, nvrtc_version, template_hash, cublas_version, clocks, time_model)
) STRICT;

CREATE TABLE measurement (
    id          INTEGER PRIMARY KEY,
    run         INTEGER NOT NULL REFERENCES run,
    layer       INTEGER NOT NULL REFERENCES layer,
    config      INTEGER NOT NULL REFERENCES config,
    m           INTEGER NOT NULL CHECK (m > 0),
    group_size  INTEGER NOT NULL CHECK (group_size >= 0), -- 0 where there are no groups
    scheme      TEXT NOT NULL CHECK (scheme <> ''), -- 'w4a8', 'w8a8', 'mixed', 'w4a8-sym', 'mixed-sym'; a baseline has 'fp16' or 'bf16'
    dtype       TEXT NOT NULL CHECK (dtype IN ('fp16', 'bf16')),
    binary      TEXT NOT NULL, -- cache key of the image; '' for library kernels and where nothing was built
    outcome     TEXT NOT NULL CHECK (outcome IN ('ok', 'refused', 'compile-failed', 'launch-failed', 'wrong', 'timeout', 'crash',
                                                 'illegal-address', 'out-of-memory')),
    message     TEXT NOT NULL, -- why, when not ok
    origin      TEXT NOT NULL CHECK (origin IN ('measured', 'modelled')),
    cache_state TEXT NOT NULL CHECK (cache_state IN ('serving', 'cold', 'hot')),
    samples     BLOB CHECK (length(samples) > 0 AND length(samples) % 8 = 0),
    median_ns   REAL CHECK (median_ns > 0),
    low_ns      REAL CHECK (low_ns <= median_ns),
    high_ns     REAL CHECK (high_ns >= median_ns),
    registers   INTEGER NOT NULL,
    smem_bytes  INTEGER NOT NULL,
    spill_bytes INTEGER NOT NULL,
    created     INTEGER NOT NULL,
    rejected    INTEGER NOT NULL CHECK (rejected >= 0), -- samples that were thrown away
    low_clock   REAL CHECK (low_clock > 0), -- NULL if no clock was too low
    rows8       INTEGER NOT NULL CHECK (rows8 >= 0), -- output features that keep 8 bits; 0 for a baseline
    tries       INTEGER NOT NULL CHECK (tries > 0), -- independent tries, each in another process, that the outcome stands on
    CHECK (CASE outcome
           WHEN 'ok' THEN samples IS NOT NULL AND median_ns IS NOT NULL AND low_ns IS NOT NULL AND high_ns IS NOT NULL
           ELSE samples IS NULL AND median_ns IS NULL AND low_ns IS NULL AND high_ns IS NULL END)
) STRICT;

CREATE INDEX measurement_by_candidate ON measurement (config, layer, m);

CREATE INDEX measurement_by_run ON measurement (run);

CREATE INDEX measurement_by_created ON measurement (created);

CREATE TRIGGER measurement_origin BEFORE INSERT ON measurement
WHEN NEW.origin = 'measured' AND (SELECT software FROM run JOIN device ON device.id = run.device WHERE run.id = NEW.run)
BEGIN
    SELECT RAISE(ABORT, 'a time on a software device is modelled, never measured');
END;

CREATE VIEW peer_release AS
SELECT device, family, release
FROM (SELECT run.device, peer.family, substr(peer.config, 1, instr(peer.config || ',', ',') - 1) AS release,
             row_number() OVER (PARTITION BY run.device, peer.family ORDER BY x.created DESC, x.id) AS age
      FROM (SELECT * FROM config WHERE family GLOB 'peer:*' AND config <> '') AS peer
      JOIN measurement AS x ON x.config = peer.id
      JOIN run ON run.id = x.run)
WHERE age = 1;

CREATE VIEW baseline AS
SELECT *
FROM (SELECT *, row_number() OVER (shape ORDER BY median_ns, family, config, layer_id) AS place,
             CASE origin WHEN 'measured'
                  THEN trim(iif(max(family = 'cublas') OVER shape, '', 'cublas')
                            || iif(max(family = 'cublaslt-best') OVER shape, '', ',cublaslt'), ',')
                  ELSE '' END AS lacks
      FROM current WHERE outcome = 'ok' AND is_baseline AND family <> 'quantize'
      WINDOW shape AS (PARTITION BY device, n, k, m, dtype, cache_state, origin))
WHERE place = 1;

CREATE VIEW reach AS
SELECT device, origin,
       max(value) FILTER (WHERE name GLOB 'dram_read_*') AS read_gbs, max(value) FILTER (WHERE name = 'l2_read') AS l2_gbs,
       max(value) FILTER (WHERE name GLOB 'int8_*') AS int8_tops,
       max(value) FILTER (WHERE name = 'fma') AS fma_lanes, max(value) FILTER (WHERE name = 'convert') AS convert_lanes,
       max(value) FILTER (WHERE name = 'clock') AS clock_mhz,
       max(value) FILTER (WHERE name = 'launch') AS launch_us, max(value) FILTER (WHERE name = 'graph_node') AS graph_node_us
FROM (SELECT run.device, x.*, row_number() OVER (PARTITION BY run.device, origin, name ORDER BY created DESC, x.id) AS age
      FROM device_limit AS x
      JOIN run ON run.id = x.run
      JOIN environment ON environment.id = run.environment
      LEFT JOIN toolchain ON toolchain.device = run.device
      WHERE environment.time_model = coalesce(toolchain.time_model, environment.time_model))
WHERE age = 1
GROUP BY device, origin;

CREATE VIEW quantisation AS
SELECT device, k, m, group_size, dtype, cache_state, origin, median_ns AS quantize_ns, low_ns AS quantize_low_ns, high_ns AS quantize_high_ns,
       clocks AS quantize_clocks, low_clock AS quantize_low_clock
FROM (SELECT *, row_number() OVER (PARTITION BY device, k, m, group_size, dtype, cache_state, origin ORDER BY median_ns, id) AS place
      FROM current WHERE outcome = 'ok' AND family = 'quantize')
WHERE place = 1;

CREATE VIEW speedup AS
SELECT winner.*, baseline.id AS baseline_id, baseline.family AS baseline_family, baseline.config AS baseline_config,
       baseline.median_ns AS baseline_ns, baseline.low_ns AS baseline_low_ns, baseline.high_ns AS baseline_high_ns,
       baseline.lacks AS baseline_lacks,
       baseline.median_ns / winner.median_ns AS ratio,
       baseline.low_ns / winner.high_ns AS ratio_low,
       baseline.high_ns / winner.low_ns AS ratio_high,
       quantize_ns, baseline.median_ns / (winner.median_ns + quantize_ns) AS ratio_with_quantize,
       baseline.low_ns / (winner.high_ns + quantize_high_ns) AS ratio_with_quantize_low,
       baseline.high_ns / (winner.low_ns + quantize_low_ns) AS ratio_with_quantize_high,
       coalesce((SELECT count(DISTINCT power) > 1 OR count(DISTINCT memory) > 1 OR count(DISTINCT throttle) > 1
                        OR coalesce(max(sm) > 1.02 * min(sm), 0)
                 FROM (SELECT json_extract(clocks, '$.power_limit_w') AS power,
                              replace(replace(json_extract(clocks, '$.throttle'), '"idle",', ''), '"idle"', '') AS throttle,
                              iif(instr(clocks, '"idle"'), NULL, json_extract(clocks, '$.memory_mhz')) AS memory,
                              iif(instr(clocks, '"idle"'), NULL, json_extract(clocks, '$.sm_mhz')) AS sm
                       FROM (SELECT winner.clocks AS clocks UNION SELECT baseline.clocks UNION SELECT quantize_clocks)
                       WHERE json_valid(clocks))), 0)
       OR coalesce(abs(coalesce(winner.low_clock, 1) - coalesce(baseline.low_clock, 1)) > 0.03 AND baseline.id IS NOT NULL, 0)
       OR coalesce(abs(coalesce(winner.low_clock, 1) - coalesce(quantize_low_clock, 1)) > 0.03 AND quantize_ns IS NOT NULL, 0)
           AS states_differ
FROM winner
LEFT JOIN baseline USING (device, n, k, m, dtype, cache_state, origin)
LEFT JOIN quantisation USING (device, k, m, group_size, dtype, cache_state, origin);

CREATE VIEW current_peer AS
SELECT *
FROM (SELECT *, row_number() OVER (PARTITION BY device, n, k, m, scheme, rows8, group_size, dtype, cache_state, origin, config_id
                                   ORDER BY created DESC, id) AS age
      FROM fact WHERE NOT stale AND is_peer)
WHERE age = 1;

CREATE VIEW winner AS
SELECT *
FROM (SELECT *, row_number() OVER (PARTITION BY device, layer_id, m, scheme, rows8, group_size, dtype, cache_state, origin
                                   ORDER BY split_k, stages, smem_bytes, registers, family, config) AS place
      FROM (SELECT *, first_value(median_ns) OVER fastest AS fastest_ns, first_value(high_ns) OVER fastest AS fastest_high_ns
            FROM current WHERE outcome = 'ok' AND NOT is_baseline
            WINDOW fastest AS (PARTITION BY device, layer_id, m, scheme, rows8, group_size, dtype, cache_state, origin
                               ORDER BY median_ns, high_ns DESC))
      WHERE median_ns <= 1.01 * fastest_ns OR low_ns <= fastest_high_ns)
WHERE place = 1;

CREATE VIEW peer AS
WITH w AS MATERIALIZED (
    SELECT * FROM winner -- once, not for every peer
), beside AS (
    SELECT p.device, p.device_name, p.uuid, p.cc, p.sm_count, p.software, coalesce(w.layer_id, p.layer_id) AS layer_id,
           coalesce(w.model, p.model) AS model, coalesce(w.layer, p.layer) AS layer, p.n, p.k, coalesce(w.tp, p.tp) AS tp,
           p.m, coalesce(w.scheme, p.scheme) AS scheme, coalesce(w.rows8, p.rows8) AS rows8, coalesce(w.group_size, p.group_size) AS group_size,
           coalesce(w.dtype, p.dtype) AS dtype, p.cache_state, p.origin,
           w.id AS winner_id, w.family, w.config, w.median_ns, w.low_ns, w.high_ns,
           p.id AS peer_id, p.family AS peer_family, p.config AS peer_config, p.scheme AS peer_scheme,
           p.group_size AS peer_group, p.dtype AS peer_dtype, p.median_ns AS peer_ns, p.low_ns AS peer_low_ns,
           p.high_ns AS peer_high_ns,
           p.median_ns / w.median_ns AS ratio, p.low_ns / w.high_ns AS ratio_low, p.high_ns / w.low_ns AS ratio_high,
           max(w.dtype = p.dtype) OVER (PARTITION BY p.id, w.layer_id, w.scheme, w.rows8, w.group_size) AS has_own_type
    FROM current_peer AS p
    LEFT JOIN w
        ON w.device = p.device AND w.n = p.n AND w.k = p.k AND w.m = p.m AND w.cache_state = p.cache_state
           AND w.origin = p.origin AND (p.scheme NOT IN ('w4a8', 'w8a8', 'mixed', 'w4a8-sym', 'mixed-sym') OR (w.scheme = p.scheme AND w.rows8 = p.rows8)) AND p.group_size IN (0, w.group_size)
    WHERE p.outcome = 'ok'
)
SELECT * FROM beside WHERE winner_id IS NULL OR (dtype = peer_dtype) = has_own_type;

CREATE VIEW floor AS
WITH shape AS (
    SELECT *, (k + 127) / 128 * 128 AS k_padded,
           (SELECT value FROM knob WHERE knob.config = config_id AND name = 'promote') AS promote
    FROM winner WHERE cache_state IN ('serving', 'cold') AND scheme IN ('w4a8', 'w8a8', 'mixed', 'w4a8-sym', 'mixed-sym') AND group_size > 0
), padded AS (
    SELECT *, (k_padded + group_size - 1) / group_size AS groups, (rows8 + 15) / 16 * 16 AS padded8,
           (n - rows8 + 15) / 16 * 16 AS padded4
    FROM shape
), counted AS (
    SELECT padded.*, reach.*,
           padded8 * k_padded + padded4 * k_padded / 2 + groups * (2 * padded8 + iif(scheme GLOB '*-sym', 2, 3) * padded4)
               + iif(cache_state = 'cold', m * (k_padded + 8 * groups) + 2 * m * n, 0) AS bytes,
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
SELECT id, device, device_name, uuid, origin, layer_id, model, layer, n, k, tp, m, scheme, rows8, group_size, dtype, cache_state, family, config,
       median_ns, bytes, operations, memory_ns, tensor_ns, floor_ns, term, median_ns / floor_ns AS over_floor, gap_ns,
       launch_ns, split_ns, promote_ns,
       CASE WHEN max(launch_ns, split_ns, promote_gap_ns) < gap_ns / 4 THEN 'unknown'
            WHEN launch_ns >= max(split_ns, promote_gap_ns) THEN 'launch'
            WHEN split_ns >= promote_gap_ns THEN 'split-k'
            ELSE 'promotion' END AS reason
FROM gaps;

CREATE VIEW headline AS
SELECT speedup.*, floor.floor_ns, floor.floor_ns / speedup.median_ns AS floor_share,
       floor.floor_ns / (speedup.median_ns + speedup.quantize_ns) AS floor_share_with_quantize,
       speedup.cache_state = first_value(speedup.cache_state)
           OVER (PARTITION BY speedup.device, speedup.layer_id, speedup.m, speedup.scheme, speedup.rows8, speedup.group_size, speedup.dtype, speedup.origin
                 ORDER BY speedup.cache_state <> 'serving', speedup.cache_state <> 'cold') AS is_headline
FROM speedup LEFT JOIN floor ON floor.id = speedup.id;

CREATE VIEW toolchain AS
SELECT device, driver_version, nvrtc_version, template_hash, time_model, newest_cublas AS cublas_version
FROM (SELECT device, environment.driver_version, environment.nvrtc_version, environment.template_hash, environment.time_model,
             row_number() OVER (PARTITION BY device ORDER BY NOT own, started DESC, sweep.id) AS age,
             first_value(environment.cublas_version)
                 OVER (PARTITION BY device ORDER BY environment.cublas_version = '', NOT own, started DESC, sweep.id) AS newest_cublas
      FROM (SELECT *, confirms OR EXISTS (SELECT 1 FROM measurement JOIN config ON config.id = measurement.config
                                          WHERE measurement.run = run.id AND config.family NOT GLOB 'peer:*') AS own
            FROM run) AS sweep
      JOIN environment ON environment.id = sweep.environment
      WHERE own OR EXISTS (SELECT 1 FROM measurement WHERE measurement.run = sweep.id))
WHERE age = 1;

CREATE VIEW fact AS
SELECT x.id, x.run, run.device, x.layer AS layer_id, x.config AS config_id,
       device.name AS device_name, device.uuid, device.cc, device.sm_count, device.software,
       layer.model, layer.layer, layer.n, layer.k, layer.tp,
       x.m, x.scheme, x.rows8, x.group_size, x.dtype, x.cache_state, x.origin,
       x.scheme IN ('fp16', 'bf16') AS is_baseline,
       config.library AS is_library, config.family GLOB 'peer:*' AS is_peer, config.family, config.config, x.binary,
       coalesce((SELECT value FROM knob WHERE knob.config = x.config AND name = 'split_k'), 1) AS split_k,
       coalesce((SELECT value FROM knob WHERE knob.config = x.config AND name = 'stages'), 0) AS stages,
       x.registers, x.smem_bytes, x.spill_bytes,
       x.outcome, x.message, length(x.samples) / 8 AS sample_count, x.median_ns, x.low_ns, x.high_ns, x.created,
       x.rejected, x.low_clock, run.missing, run.nvrtc, x.tries,
       x.outcome NOT IN ('ok', 'wrong') AND x.tries < 2 AS doubtful,
       environment.driver_version, environment.nvrtc_version, environment.template_hash, environment.cublas_version,
       environment.clocks, environment.time_model,
       NOT (environment.driver_version = toolchain.driver_version AND environment.time_model = toolchain.time_model
            AND CASE WHEN config.family GLOB 'peer:*'
                THEN substr(config.config, 1, instr(config.config || ',', ',') - 1) = coalesce(peer_release.release, '')
                WHEN config.library
                THEN environment.cublas_version = toolchain.cublas_version
                ELSE environment.nvrtc_version = toolchain.nvrtc_version
                     AND environment.template_hash = toolchain.template_hash END) AS stale
FROM measurement AS x
JOIN run ON run.id = x.run
JOIN device ON device.id = run.device
JOIN environment ON environment.id = run.environment
JOIN layer ON layer.id = x.layer
JOIN config ON config.id = x.config
JOIN toolchain ON toolchain.device = run.device
LEFT JOIN peer_release ON peer_release.device = run.device AND peer_release.family = config.family;

CREATE VIEW current AS
SELECT *
FROM (SELECT *, row_number() OVER (PARTITION BY device, layer_id, m, scheme, rows8, group_size, dtype, cache_state, origin, config_id
                                   ORDER BY created DESC, id) AS age
      FROM fact WHERE NOT stale AND NOT doubtful AND NOT is_peer)
WHERE age = 1;
