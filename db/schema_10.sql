-- Version 10: a failure must come twice before it is taken for the candidate's, and runs say what compiled their kernels.
-- What else changes with a new column, and why rows then get new keys, stands at the head of db/schema.sql.
--
--   run          nvrtc: the compiler, for people: '13.0, /usr/local/cuda/lib64/libnvrtc.so.13'; '' in older runs
--                confirms: 1 where a sweep found what it wanted measured before with its toolchain, so that the rows of that toolchain count
--                again: after a driver or an NVRTC was tried and taken back, say
--   toolchain    also of a run that confirms. What a sweep need not measure is what `current` would have if such a run were added
--                (db/standing.c)
--   measurement  tries: the independent tries that the outcome stands on, each in another process. 1 in older rows, and in those that are good
--                outcome may be 'out-of-memory': the device has not the memory that the candidate needs
--   fact         has tries, nvrtc, and doubtful: a failure of one try alone may be the machine's (no memory for a moment, a library that
--                did not load, a process that somebody killed). A wrong number is the kernel's at once
--   current      without what is doubtful: such a candidate has not been measured

CREATE TEMP TABLE kept_run AS SELECT id, content_key('run', device, environment, command, started, missing, '', 0) AS key FROM run;
CREATE UNIQUE INDEX temp.kept_run_id ON kept_run (id);
ALTER TABLE run ADD COLUMN nvrtc TEXT NOT NULL DEFAULT '';
ALTER TABLE run ADD COLUMN confirms INTEGER NOT NULL DEFAULT 0 CHECK (confirms IN (0, 1));
UPDATE device_limit SET run = (SELECT key FROM kept_run WHERE kept_run.id = device_limit.run);
UPDATE device_limit SET id = content_key('device_limit', run, name, value, unit, origin, created);
UPDATE run SET id = content_key('run', device, environment, command, started, missing, nvrtc, confirms);

CREATE TEMP TABLE kept AS SELECT kept_run.key, measurement.* FROM measurement JOIN kept_run ON kept_run.id = measurement.run;
DROP TABLE measurement;
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
INSERT INTO measurement
SELECT content_key('measurement', key, layer, config, m, group_size, scheme, dtype, binary, outcome, message, origin, cache_state, samples, median_ns,
       low_ns, high_ns, registers, smem_bytes, spill_bytes, created, rejected, low_clock, rows8, 1),
       key, layer, config, m, group_size, scheme, dtype, binary, outcome, message, origin, cache_state, samples, median_ns,
       low_ns, high_ns, registers, smem_bytes, spill_bytes, created, rejected, low_clock, rows8, 1
FROM kept;
DROP TABLE kept;
DROP TABLE kept_run;
CREATE INDEX measurement_by_candidate ON measurement (config, layer, m);
CREATE INDEX measurement_by_run ON measurement (run);
CREATE INDEX measurement_by_created ON measurement (created);
CREATE TRIGGER measurement_origin BEFORE INSERT ON measurement
WHEN NEW.origin = 'measured' AND (SELECT software FROM run JOIN device ON device.id = run.device WHERE run.id = NEW.run)
BEGIN
    SELECT RAISE(ABORT, 'a time on a software device is modelled, never measured');
END;

DROP VIEW toolchain;
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

DROP VIEW fact;
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

DROP VIEW current;
CREATE VIEW current AS
SELECT *
FROM (SELECT *, row_number() OVER (PARTITION BY device, layer_id, m, scheme, rows8, group_size, dtype, cache_state, origin, config_id
                                   ORDER BY created DESC, id) AS age
      FROM fact WHERE NOT stale AND NOT doubtful AND NOT is_peer)
WHERE age = 1;
