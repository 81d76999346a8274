-- The database of measurements. Later versions keep these tables; db/schema_2.sql only changes the keys.
--
-- Tables (rows are added, never edited):
--   device       a GPU, or a software device (software = 1: every time on it is modelled)
--   environment  what else was true: driver, NVRTC, templates, cuBLAS, clock state
--   run          one sweep on one device in one environment
--   layer        a linear layer Y[M, N] = X[M, K] . W[N, K]^T of a model
--   config       one kernel configuration: a family and its knobs as canonical text
--   knob         the same text taken apart, one row a knob, for queries
--   measurement  one candidate at one batch size: what became of it, and all its samples
--
-- Keys. Every `id` is the XXH3 64-bit hash of the other columns in their order (db/key.c), so equal things have equal keys
-- in every database: merging two of them twice changes nothing (db/merge.c).
--
-- A new column. It gives every row of its table a new key, and new keys to the rows that refer to those: the step that adds it
-- computes them, as db/schema_7.sql does. A step that some database has taken never changes again; a new one is a new file.
-- With it change
--   db/schema.c                    the list of the steps
--   db/columns.c                   the list of the columns: rows, keys, their checks and the joining of databases are made from it
--   db/store.c, record.c, limit.c  what the column holds
--   tuner/report/t4.c, t4_read.c   what a T4 file says of it, and what is read where a file says nothing
--   db/current.sql                 all steps as one, for people: `make db/current.sql`
-- tests/unit/db/test_schema.c and tests/unit/report/test_t4.c see what was forgotten. A new table takes the same.
--
-- Units. Times are nanoseconds; `samples` is a BLOB of little-endian IEEE doubles, one a sample; `median_ns` with its 95 %
-- confidence interval `low_ns`..`high_ns`. `started` and `created` are nanoseconds since 1970 and grow strictly within a
-- database. cc is 80 for 8.0; driver_version 13000 for 13.0; nvrtc_version 1300 for 13.0.
--
-- Views (everything that is derived is derived here, and measured and modelled times never meet in one row):
--   toolchain    of each device: the driver, NVRTC and templates of its newest run that recorded something, and its newest cuBLAS
--   fact         every measurement beside the names of its device, layer and configuration; stale = 1 when driver, NVRTC
--                or templates (for library kernels: driver or cuBLAS) are not those of its device's `toolchain`
--   current      the newest fact of each candidate that is not stale
--                (The three views below are as version 3 makes them: schema_3.sql.)
--   winner       the fastest good configuration per device, layer, m, scheme, group, dtype, cache state and origin.
--                Configurations within 1 % of the fastest, or whose interval reaches into its, are equals; the simplest of
--                them wins: the smallest split_k, then the fewest stages, the least shared memory, the fewest registers, the
--                text that sorts first.
--   baseline     the fastest of cublas, cublaslt-best and f16 per device, shape, dtype, cache state and origin
--   speedup      winner beside baseline, same device, toolchain, cache state and origin; ratio > 1: the winner is faster.
--                ratio_low..ratio_high are the worst and the best case of the two intervals. NULL where there is no baseline.

CREATE TABLE device (
    id       INTEGER PRIMARY KEY,
    uuid     TEXT NOT NULL,
    name     TEXT NOT NULL CHECK (name <> ''),
    cc       INTEGER NOT NULL,
    sm_count INTEGER NOT NULL,
    software INTEGER NOT NULL CHECK (software IN (0, 1)),
    UNIQUE (uuid, name, cc, sm_count, software)
) STRICT;

CREATE TABLE environment (
    id             INTEGER PRIMARY KEY,
    driver_version INTEGER NOT NULL,
    nvrtc_version  INTEGER NOT NULL,
    template_hash  TEXT NOT NULL,
    cublas_version TEXT NOT NULL, -- '' if there was none
    clocks         TEXT NOT NULL, -- JSON, '' if unknown
    UNIQUE (driver_version, nvrtc_version, template_hash, cublas_version, clocks)
) STRICT;

CREATE TABLE run (
    id          INTEGER PRIMARY KEY,
    device      INTEGER NOT NULL REFERENCES device,
    environment INTEGER NOT NULL REFERENCES environment,
    command     TEXT NOT NULL, -- for people
    started     INTEGER NOT NULL
) STRICT;
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
    cache_state TEXT NOT NULL CHECK (cache_state IN ('cold', 'hot')),
    samples     BLOB CHECK (length(samples) > 0 AND length(samples) % 8 = 0),
    median_ns   REAL CHECK (median_ns > 0),
    low_ns      REAL CHECK (low_ns <= median_ns),
    high_ns     REAL CHECK (high_ns >= median_ns),
    registers   INTEGER NOT NULL,
    smem_bytes  INTEGER NOT NULL,
    spill_bytes INTEGER NOT NULL,
    created     INTEGER NOT NULL,
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

CREATE VIEW toolchain AS
SELECT device, driver_version, nvrtc_version, template_hash, newest_cublas AS cublas_version
FROM (SELECT run.device, environment.driver_version, environment.nvrtc_version, environment.template_hash,
             row_number() OVER (PARTITION BY run.device ORDER BY run.started DESC, run.id) AS age,
             first_value(environment.cublas_version)
                 OVER (PARTITION BY run.device ORDER BY environment.cublas_version = '', run.started DESC, run.id) AS newest_cublas
      FROM run JOIN environment ON environment.id = run.environment
      WHERE EXISTS (SELECT 1 FROM measurement WHERE measurement.run = run.id))
WHERE age = 1;

CREATE VIEW fact AS
SELECT x.id, x.run, run.device, x.layer AS layer_id, x.config AS config_id,
       device.name AS device_name, device.uuid, device.cc, device.sm_count, device.software,
       layer.model, layer.layer, layer.n, layer.k, layer.tp,
       x.m, x.scheme, x.group_size, x.dtype, x.cache_state, x.origin,
       x.scheme IN ('fp16', 'bf16') AS is_baseline,
       config.library AS is_library, config.family, config.config, x.binary,
       coalesce((SELECT value FROM knob WHERE knob.config = x.config AND name = 'split_k'), 1) AS split_k,
       coalesce((SELECT value FROM knob WHERE knob.config = x.config AND name = 'stages'), 0) AS stages,
       x.registers, x.smem_bytes, x.spill_bytes,
       x.outcome, x.message, length(x.samples) / 8 AS sample_count, x.median_ns, x.low_ns, x.high_ns, x.created,
       environment.driver_version, environment.nvrtc_version, environment.template_hash, environment.cublas_version,
       environment.clocks,
       NOT (environment.driver_version = toolchain.driver_version
            AND CASE WHEN config.library
                THEN environment.cublas_version = toolchain.cublas_version
                ELSE environment.nvrtc_version = toolchain.nvrtc_version
                     AND environment.template_hash = toolchain.template_hash END) AS stale
FROM measurement AS x
JOIN run ON run.id = x.run
JOIN device ON device.id = run.device
JOIN environment ON environment.id = run.environment
JOIN layer ON layer.id = x.layer
JOIN config ON config.id = x.config
JOIN toolchain ON toolchain.device = run.device;

CREATE VIEW current AS
SELECT *
FROM (SELECT *, row_number() OVER (PARTITION BY device, layer_id, m, scheme, group_size, dtype, cache_state, origin, config_id
                                   ORDER BY created DESC, id) AS age
      FROM fact WHERE NOT stale)
WHERE age = 1;

CREATE VIEW winner AS
SELECT *
FROM (SELECT *, row_number() OVER (PARTITION BY device, layer_id, m, scheme, group_size, dtype, cache_state, origin
                                   ORDER BY split_k, stages, smem_bytes, registers, family, config) AS place
      FROM (SELECT *, min(median_ns) OVER (PARTITION BY device, layer_id, m, scheme, group_size, dtype, cache_state, origin)
                          AS fastest_ns
            FROM current WHERE outcome = 'ok' AND NOT is_baseline)
      WHERE median_ns <= 1.01 * fastest_ns)
WHERE place = 1;

CREATE VIEW baseline AS
SELECT *
FROM (SELECT *, row_number() OVER (PARTITION BY device, n, k, m, dtype, cache_state, origin
                                   ORDER BY median_ns, family, config, layer_id) AS place
      FROM current WHERE outcome = 'ok' AND is_baseline)
WHERE place = 1;

CREATE VIEW speedup AS
SELECT winner.*, baseline.id AS baseline_id, baseline.family AS baseline_family, baseline.config AS baseline_config,
       baseline.median_ns AS baseline_ns, baseline.low_ns AS baseline_low_ns, baseline.high_ns AS baseline_high_ns,
       baseline.median_ns / winner.median_ns AS ratio,
       baseline.low_ns / winner.high_ns AS ratio_low,
       baseline.high_ns / winner.low_ns AS ratio_high
FROM winner
LEFT JOIN baseline USING (device, n, k, m, dtype, cache_state, origin);
