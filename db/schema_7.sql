-- Version 7: modelled times say of which time model they are, and a third state of the caches.
-- What else changes with a new column, and why rows then get new keys, stands at the head of db/schema.sql.
--
--   environment  time_model: the hash of the software device's model (runtime/softgpu/time/hash.h); '' for a GPU, and for modelled times
--                from before this version
--   measurement  cache_state may be 'serving': weights from memory, activations still in the cache (tuner/measure/measure.h)
--   toolchain    has time_model; it is that of the newest run, like the templates
--   fact         has time_model; times of another model than its device's `toolchain` has are stale, so no view of current times holds
--                those of two
--
--   reach        of limits that are modelled only those of the toolchain's time model count
--
-- A key is the hash of its row's whole content (version 2), so the rows of `environment`, and what refers to them, get new ones. Both
-- tables are made anew: what a table checks cannot be altered.

CREATE TEMP TABLE kept_environment AS
SELECT *, content_key('environment', driver_version, nvrtc_version, template_hash, cublas_version, clocks, '') AS key FROM environment;
DROP TABLE environment;
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
INSERT INTO environment
SELECT key, driver_version, nvrtc_version, template_hash, cublas_version, clocks, '' FROM kept_environment;

UPDATE run SET environment = (SELECT key FROM kept_environment WHERE kept_environment.id = run.environment);
CREATE TEMP TABLE kept_run AS SELECT id, content_key('run', device, environment, command, started, missing) AS key FROM run;
CREATE UNIQUE INDEX temp.kept_run_id ON kept_run (id);
UPDATE device_limit SET run = (SELECT key FROM kept_run WHERE kept_run.id = device_limit.run);
UPDATE device_limit SET id = content_key('device_limit', run, name, value, unit, origin, created);
UPDATE run SET id = content_key('run', device, environment, command, started, missing);

CREATE TEMP TABLE kept_measurement AS SELECT kept_run.key, measurement.* FROM measurement JOIN kept_run ON kept_run.id = measurement.run;
DROP TABLE measurement;
CREATE TABLE measurement (
    id          INTEGER PRIMARY KEY,
    run         INTEGER NOT NULL REFERENCES run,
    layer       INTEGER NOT NULL REFERENCES layer,
    config      INTEGER NOT NULL REFERENCES config,
    m           INTEGER NOT NULL CHECK (m > 0),
    group_size  INTEGER NOT NULL CHECK (group_size >= 0), -- 0 where there are no groups
    scheme      TEXT NOT NULL CHECK (scheme <> ''), -- a baseline has 'fp16' or 'bf16'
    dtype       TEXT NOT NULL CHECK (dtype IN ('fp16', 'bf16')),
    binary      TEXT NOT NULL, -- cache key of the image; '' for library kernels and where nothing was built
    outcome     TEXT NOT NULL CHECK (outcome IN ('ok', 'refused', 'compile-failed', 'launch-failed', 'wrong', 'timeout', 'crash',
                                                 'illegal-address')),
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
    CHECK (CASE outcome
           WHEN 'ok' THEN samples IS NOT NULL AND median_ns IS NOT NULL AND low_ns IS NOT NULL AND high_ns IS NOT NULL
           ELSE samples IS NULL AND median_ns IS NULL AND low_ns IS NULL AND high_ns IS NULL END)
) STRICT;
INSERT INTO measurement
SELECT content_key('measurement', key, layer, config, m, group_size, scheme, dtype, binary, outcome, message, origin, cache_state, samples,
                   median_ns, low_ns, high_ns, registers, smem_bytes, spill_bytes, created, rejected, low_clock),
       key, layer, config, m, group_size, scheme, dtype, binary, outcome, message, origin, cache_state, samples, median_ns, low_ns,
       high_ns, registers, smem_bytes, spill_bytes, created, rejected, low_clock
FROM kept_measurement;
CREATE INDEX measurement_by_candidate ON measurement (config, layer, m);
CREATE INDEX measurement_by_run ON measurement (run);
CREATE INDEX measurement_by_created ON measurement (created);
CREATE TRIGGER measurement_origin BEFORE INSERT ON measurement
WHEN NEW.origin = 'measured' AND (SELECT software FROM run JOIN device ON device.id = run.device WHERE run.id = NEW.run)
BEGIN
    SELECT RAISE(ABORT, 'a time on a software device is modelled, never measured');
END;
DROP TABLE kept_environment;
DROP TABLE kept_run;
DROP TABLE kept_measurement;

DROP VIEW toolchain;
CREATE VIEW toolchain AS
SELECT device, driver_version, nvrtc_version, template_hash, time_model, newest_cublas AS cublas_version
FROM (SELECT device, environment.driver_version, environment.nvrtc_version, environment.template_hash, environment.time_model,
             row_number() OVER (PARTITION BY device ORDER BY NOT own, started DESC, sweep.id) AS age,
             first_value(environment.cublas_version)
                 OVER (PARTITION BY device ORDER BY environment.cublas_version = '', NOT own, started DESC, sweep.id) AS newest_cublas
      FROM (SELECT *, EXISTS (SELECT 1 FROM measurement JOIN config ON config.id = measurement.config
                              WHERE measurement.run = run.id AND config.family NOT GLOB 'peer:*') AS own
            FROM run) AS sweep
      JOIN environment ON environment.id = sweep.environment
      WHERE own OR EXISTS (SELECT 1 FROM measurement WHERE measurement.run = sweep.id))
WHERE age = 1;

DROP VIEW fact;
CREATE VIEW fact AS
SELECT x.id, x.run, run.device, x.layer AS layer_id, x.config AS config_id,
       device.name AS device_name, device.uuid, device.cc, device.sm_count, device.software,
       layer.model, layer.layer, layer.n, layer.k, layer.tp,
       x.m, x.scheme, x.group_size, x.dtype, x.cache_state, x.origin,
       x.scheme IN ('fp16', 'bf16') AS is_baseline,
       config.library AS is_library, config.family GLOB 'peer:*' AS is_peer, config.family, config.config, x.binary,
       coalesce((SELECT value FROM knob WHERE knob.config = x.config AND name = 'split_k'), 1) AS split_k,
       coalesce((SELECT value FROM knob WHERE knob.config = x.config AND name = 'stages'), 0) AS stages,
       x.registers, x.smem_bytes, x.spill_bytes,
       x.outcome, x.message, length(x.samples) / 8 AS sample_count, x.median_ns, x.low_ns, x.high_ns, x.created,
       x.rejected, x.low_clock, run.missing,
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

DROP VIEW reach;
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
