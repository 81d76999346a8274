-- Version 2: every key is the hash of its row's whole content, so that a changed cell of a row is found out when databases are merged.
-- Before, the key of a run also held the host and the process, which no column keeps, and that of a measurement left some columns out.
-- Foreign keys are not yet enforced while a database is brought up to date.
-- What else changes with a new column, and why rows then get new keys, stands at the head of db/schema.sql.

UPDATE measurement
SET run = (SELECT content_key('run', device, environment, command, started) FROM run WHERE run.id = measurement.run);

UPDATE run SET id = content_key('run', device, environment, command, started);

UPDATE measurement
SET id = content_key('measurement', run, layer, config, m, group_size, scheme, dtype, binary, outcome, message, origin, cache_state,
                     samples, median_ns, low_ns, high_ns, registers, smem_bytes, spill_bytes, created);
