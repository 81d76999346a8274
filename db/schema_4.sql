-- Version 4: peers, the kernels of others that are timed beside ours (tests/gpu/peers.py) and merged into the same database.
-- What else changes with a new column, and why rows then get new keys, stands at the head of db/schema.sql.
--
-- A peer's family is 'peer:NAME', and its configuration begins with its library and that library's release: 'torch=2.11.0,pad=32'. It is
-- neither a candidate nor a baseline: no peer is a winner, and none is what a speed-up is quoted against.
--
--   toolchain     runs of peers say nothing of NVRTC and templates: they count only on a device that has no other
--   fact          has is_peer; a peer is stale when its driver is not that of `toolchain`, or when the newest time of its family on
--                 its device is of another release
--   current       without the peers
--   current_peer  the newest fact of each peer and shape that is not stale; which layer asked for the shape does not matter
--   peer          every good one beside each winner of its device, shape, m, cache state and origin; ratio > 1: the winner is
--                 faster. A peer that has 8-bit activations stands beside winners of its own scheme, others beside all; one that
--                 has groups beside winners with such groups. Where no winner has its output type, those of the other type do, and
--                 where there is no winner at all the columns of the winner are NULL.

DROP VIEW current;
DROP VIEW fact;
DROP VIEW toolchain;

CREATE VIEW toolchain AS
SELECT device, driver_version, nvrtc_version, template_hash, newest_cublas AS cublas_version
FROM (SELECT device, environment.driver_version, environment.nvrtc_version, environment.template_hash,
             row_number() OVER (PARTITION BY device ORDER BY NOT own, started DESC, sweep.id) AS age,
             first_value(environment.cublas_version)
                 OVER (PARTITION BY device ORDER BY environment.cublas_version = '', NOT own, started DESC, sweep.id) AS newest_cublas
      FROM (SELECT *, EXISTS (SELECT 1 FROM measurement JOIN config ON config.id = measurement.config
                              WHERE measurement.run = run.id AND config.family NOT GLOB 'peer:*') AS own
            FROM run) AS sweep
      JOIN environment ON environment.id = sweep.environment
      WHERE own OR EXISTS (SELECT 1 FROM measurement WHERE measurement.run = sweep.id))
WHERE age = 1;

-- Of each device and family of peers, the release that was run last. A peer that was not there has no configuration, and that counts
-- only until one is.
CREATE VIEW peer_release AS
SELECT device, family, release
FROM (SELECT run.device, peer.family, substr(peer.config, 1, instr(peer.config || ',', ',') - 1) AS release,
             row_number() OVER (PARTITION BY run.device, peer.family ORDER BY x.created DESC, x.id) AS age
      FROM (SELECT * FROM config WHERE family GLOB 'peer:*' AND config <> '') AS peer
      JOIN measurement AS x ON x.config = peer.id
      JOIN run ON run.id = x.run)
WHERE age = 1;

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

CREATE VIEW current AS
SELECT *
FROM (SELECT *, row_number() OVER (PARTITION BY device, layer_id, m, scheme, group_size, dtype, cache_state, origin, config_id
                                   ORDER BY created DESC, id) AS age
      FROM fact WHERE NOT stale AND NOT is_peer)
WHERE age = 1;

CREATE VIEW current_peer AS
SELECT *
FROM (SELECT *, row_number() OVER (PARTITION BY device, n, k, m, scheme, group_size, dtype, cache_state, origin, config_id
                                   ORDER BY created DESC, id) AS age
      FROM fact WHERE NOT stale AND is_peer)
WHERE age = 1;

CREATE VIEW peer AS
WITH w AS MATERIALIZED (
    SELECT * FROM winner -- once, not for every peer
), beside AS (
    SELECT p.device, p.device_name, p.uuid, p.cc, p.sm_count, p.software, coalesce(w.layer_id, p.layer_id) AS layer_id,
           coalesce(w.model, p.model) AS model, coalesce(w.layer, p.layer) AS layer, p.n, p.k, coalesce(w.tp, p.tp) AS tp,
           p.m, coalesce(w.scheme, p.scheme) AS scheme, coalesce(w.group_size, p.group_size) AS group_size,
           coalesce(w.dtype, p.dtype) AS dtype, p.cache_state, p.origin,
           w.id AS winner_id, w.family, w.config, w.median_ns, w.low_ns, w.high_ns,
           p.id AS peer_id, p.family AS peer_family, p.config AS peer_config, p.scheme AS peer_scheme,
           p.group_size AS peer_group, p.dtype AS peer_dtype, p.median_ns AS peer_ns, p.low_ns AS peer_low_ns,
           p.high_ns AS peer_high_ns,
           p.median_ns / w.median_ns AS ratio, p.low_ns / w.high_ns AS ratio_low, p.high_ns / w.low_ns AS ratio_high,
           max(w.dtype = p.dtype) OVER (PARTITION BY p.id, w.layer_id, w.scheme, w.group_size) AS has_own_type
    FROM current_peer AS p
    LEFT JOIN w
        ON w.device = p.device AND w.n = p.n AND w.k = p.k AND w.m = p.m AND w.cache_state = p.cache_state
           AND w.origin = p.origin AND (p.scheme NOT LIKE 'w%a8' OR w.scheme = p.scheme) AND p.group_size IN (0, w.group_size)
    WHERE p.outcome = 'ok'
)
SELECT * FROM beside WHERE winner_id IS NULL OR (dtype = peer_dtype) = has_own_type;
