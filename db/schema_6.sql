-- Version 6: what a measurement was made without, and what was thrown away on the way to it.
-- What else changes with a new column, and why rows then get new keys, stands at the head of db/schema.sql.
--
--   run          missing: what a real device should be measured with and the process could not open, as in 'cublas,gate' (tuner/measure/measure.h:
--                cublas, cublaslt, gate); '' if it had everything, and always on a software device
--   measurement  rejected: samples that were thrown away, because the clock had dropped or the device had waited for the host;
--                low_clock: the lowest clock, over the device's highest, of samples whose clock was too low, thrown away or, where the
--                device stayed so, kept; NULL where there were none
--   fact         has missing (of its run), rejected and low_clock, and so have the views made of it
--   baseline     lacks: the libraries of which there is no current good time of this shape, so that the fastest that there is may not be
--                what a speed-up should be quoted against: 'cublas', 'cublaslt' or both. '' on a software device, which has none
--   speedup      has baseline_lacks
--
-- A key is the hash of its row's whole content (version 2), so the rows of `run`, and what refers to them, get new ones.

ALTER TABLE run ADD COLUMN missing TEXT NOT NULL DEFAULT '';
ALTER TABLE measurement ADD COLUMN rejected INTEGER NOT NULL DEFAULT 0 CHECK (rejected >= 0);
ALTER TABLE measurement ADD COLUMN low_clock REAL CHECK (low_clock > 0);

UPDATE measurement
SET run = (SELECT content_key('run', device, environment, command, started, missing) FROM run WHERE run.id = measurement.run);
UPDATE device_limit
SET run = (SELECT content_key('run', device, environment, command, started, missing) FROM run WHERE run.id = device_limit.run);
UPDATE run SET id = content_key('run', device, environment, command, started, missing);
UPDATE measurement
SET id = content_key('measurement', run, layer, config, m, group_size, scheme, dtype, binary, outcome, message, origin, cache_state,
                     samples, median_ns, low_ns, high_ns, registers, smem_bytes, spill_bytes, created, rejected, low_clock);
UPDATE device_limit SET id = content_key('device_limit', run, name, value, unit, origin, created);

DROP VIEW speedup;
DROP VIEW baseline;
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
       environment.clocks,
       NOT (environment.driver_version = toolchain.driver_version
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

CREATE VIEW speedup AS
SELECT winner.*, baseline.id AS baseline_id, baseline.family AS baseline_family, baseline.config AS baseline_config,
       baseline.median_ns AS baseline_ns, baseline.low_ns AS baseline_low_ns, baseline.high_ns AS baseline_high_ns,
       baseline.lacks AS baseline_lacks,
       baseline.median_ns / winner.median_ns AS ratio,
       baseline.low_ns / winner.high_ns AS ratio_low,
       baseline.high_ns / winner.low_ns AS ratio_high,
       quantize_ns, baseline.median_ns / (winner.median_ns + quantize_ns) AS ratio_with_quantize
FROM winner
LEFT JOIN baseline USING (device, n, k, m, dtype, cache_state, origin)
LEFT JOIN quantisation USING (device, k, m, group_size, dtype, cache_state, origin);
