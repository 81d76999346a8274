#!/bin/bash
# mixtune probe, show --floor and correlate. The database of correlate is made here row by row: what it prints is known in advance.
set -u
. tests/cli/cases.sh
db=$TMPDIR/t.db

# Two problems with four candidates each, measured on a GPU and modelled on a software device: modelled ranks 1 3 2 4 and 4 1 3 2.
# One candidate failed when it was modelled, one is of a library: neither counts.
{
    echo "PRAGMA application_id = $((0x4d495854)); PRAGMA user_version = 1;"
    cat db/schema.sql
    cat <<'SQL'
INSERT INTO device VALUES (1, 'GPU-1', 'NVIDIA H100 80GB HBM3', 90, 132, 0), (2, 'GPU-2', 'H100-SXM (software device)', 90, 132, 1),
    (3, 'GPU-3', 'A100-SXM-80G (software device)', 80, 108, 1);
INSERT INTO environment VALUES (1, 13000, 1300, 'now', '13.0', ''), (2, 13000, 1300, 'now', '', '');
INSERT INTO run VALUES (1, 1, 1, '', 1), (2, 2, 2, '', 2), (3, 3, 2, '', 3);
INSERT INTO layer VALUES (1, 'tiny', 'qkv', 1024, 512, 1), (2, 'other', 'qkv', 1024, 512, 1);
INSERT INTO config VALUES (1, 'sm80', 'c=1'), (2, 'sm80', 'c=2'), (3, 'sm80', 'c=3'), (4, 'sm80', 'c=4'), (5, 'cublas', '');
INSERT INTO knob VALUES (1, 'c', 1), (2, 'c', 2), (3, 'c', 3), (4, 'c', 4);
WITH row(c, m, gpu, soft) AS (VALUES (1, 16, 10, 1), (2, 16, 20, 3), (3, 16, 30, 2), (4, 16, 40, 4),
         (1, 256, 100, 40), (2, 256, 110, 10), (3, 256, 120, 30), (4, 256, 130, 20), (5, 16, 1, 1)),
     run(r, d) AS (VALUES (1, 1), (2, 2), (3, 3))
INSERT INTO measurement
SELECT row_number() OVER (), r, iif(d = 2, 2, 1), c, m, 128, 'w4a8', 'fp16', '', 'ok', '', iif(d = 1, 'measured', 'modelled'), 'cold',
       x'0000000000000000', iif(d = 1, gpu, soft) * 1000.0, 1, 1e9, 0, 0, 0, 1000 + row_number() OVER ()
FROM row, run;
INSERT INTO measurement
SELECT 100 + id, run, layer, config, 17, group_size, scheme, dtype, binary, iif(run = 1, 'ok', 'wrong'), '', origin, cache_state,
       iif(run = 1, samples, NULL), iif(run = 1, median_ns, NULL), iif(run = 1, 1, NULL), iif(run = 1, 1e9, NULL), 0, 0, 0, 5000 + id
FROM measurement WHERE config = 1 AND m = 16;
SQL
} | sqlite3 "$db" >"$TMPDIR/err" 2>&1

# The same and twenty more families, of two candidates each.
cp "$db" "$TMPDIR/many.db"
sqlite3 "$TMPDIR/many.db" "
    INSERT INTO config SELECT 100 + value, 'family' || (value / 2), 'c=' || value FROM generate_series(0, 39);
    INSERT INTO measurement
    SELECT value * 2 + run + 10000, run, run, 100 + value, 16, 128, 'w4a8', 'fp16', '', 'ok', '', iif(run = 1, 'measured', 'modelled'), 'cold',
           x'0000000000000000', 1000.0 + value, 1, 1e9, 0, 0, 0, 9000 + value * 2 + run FROM generate_series(0, 39), (SELECT 1 AS run UNION SELECT 2)"

run 0 "$MIXTUNE" correlate --db "$db"
expect '^NVIDIA H100 80GB HBM3 measured, H100-SXM \(software device\) modelled' out
expect '^sm80 +all +8 +2 +0\.810 +0\.[0-9]+ +0\.9[0-9]+ +0\.200 +1\.050 +1\.100 +1\.050 +1\.100$' out
expect '^sm80 +1-16 +4 +1 +0\.800 .* +0\.800 +1\.000 +1\.000 +1\.000 +1\.000$' out
expect '^sm80 +256- +4 +1 +-0\.400 .* +-0\.400 +1\.100 +1\.100 +1\.100 +1\.100$' out
expect '^all +all +8 +2 +0\.810' out
forbid 'cublas|17-255' out
result 'correlation, interval and regret as worked out by hand'

run 0 "$MIXTUNE" correlate --db "$db" --json --m 16
# shellcheck disable=SC2016
[ "$(head -n 1 "$TMPDIR/out" | python3 -c 'import json,sys; r=json.load(sys.stdin); print(r["family"], r["pairs"], r["rho"], r["regret_worst"])')" = \
    'sm80 4 0.8 1.0' ] || verdict="$verdict not what JSON should say: $(head -n 1 "$TMPDIR/out")"
result 'the same as JSON, for some batch sizes'

run 0 "$MIXTUNE" correlate --db "$db" --model-device a100
expect 'A100-SXM-80G' out
result 'another software device when it is named'

# The newer run of the software device is of another model, and has one candidate only.
cp "$db" "$TMPDIR/models.db"
# What writes brings it up to date.
run 75 "$MIXTUNE" sweep --quiet --device soft:a100-sxm-80g --shape 8,64,128 --time-limit 0.001s --db "$TMPDIR/models.db"
sqlite3 "$TMPDIR/models.db" "
    CREATE TEMP TABLE old AS SELECT run.* FROM run JOIN device ON device.id = device WHERE name LIKE 'H100-SXM%';
    INSERT INTO environment SELECT 3, driver_version, nvrtc_version, template_hash, cublas_version, clocks, 'feedfacecafebeef' FROM environment
    WHERE id = (SELECT environment FROM old);
    INSERT INTO run (id, device, environment, command, started) SELECT 9, device, 3, command, started + 1 FROM old;
    CREATE TEMP TABLE x AS SELECT * FROM measurement
    WHERE run = (SELECT id FROM old) AND outcome = 'ok' AND m = 16 AND config IN (SELECT id FROM config WHERE family = 'sm80') LIMIT 1;
    UPDATE x SET id = 9, run = 9, created = created + 1000;
    INSERT INTO measurement SELECT * FROM x"
run 0 "$MIXTUNE" correlate --db "$TMPDIR/models.db"
expect 'measured, H100-SXM \(software device\) modelled, time model feedfacecafebeef; cold cache$' out
expect '^sm80 +all +1 +0 ' out
run 0 "$MIXTUNE" show --db "$TMPDIR/models.db" --all --json
[ "$(grep -c '"state":"stale"' "$TMPDIR/out")" = "$(grep -c '"state":"stale".*"time_model":""' "$TMPDIR/out")" ] ||
    verdict="$verdict a time of the newer model is stale; "
expect '"state":"current".*"time_model":"feedfacecafebeef"' out
expect '"state":"stale".*"time_model":""' out
result 'times of an older time model do not count'

run 0 "$MIXTUNE" correlate --db "$TMPDIR/many.db" --m 16
[ "$(awk '$2 == "all" && $3 == 2 { print $1 }' "$TMPDIR/out" | sort -V | paste -sd' ')" = "$(echo family{0..19})" ] || verdict="$verdict not twenty families; "
result 'every family, however many there are'

run 1 "$MIXTUNE" correlate --db "$db" --gpu b200
expect 'no good times of a GPU' err
result 'a GPU that is not there'

# From here on with a real sweep on a software device.
real=$TMPDIR/real.db
run 0 "$MIXTUNE" sweep --quiet --device soft:a100-sxm-80g --shape 16,512,512 --max-configs 2 --quick --db "$real"
run 1 "$MIXTUNE" show --floor --quiet --db "$real"
expect 'mixtune probe' err
result 'floors need limits, and the sentence says how to get them'

run 0 "$MIXTUNE" probe --quiet --device soft:a100-sxm-80g --db "$real" --json
expect '"origin":"modelled","name":"dram_read_load","value":17[0-9][0-9]\.[0-9]*,"unit":"GB/s"' out
forbid 'measured' out
[ "$(wc -l <"$TMPDIR/out")" = 17 ] || verdict="$verdict $(wc -l <"$TMPDIR/out") limits, not 17; "
result 'a probe, one object a limit'

run 0 "$MIXTUNE" show --floor --quiet --db "$real"
expect '^MODELLED' out
expect '512x512 +512 +512 +16 +w4a8 .* memory ' out
result 'each winner beside its floor'

run 64 "$MIXTUNE" probe --quiet --device soft:a100-sxm-80g extra
expect 'takes options only' err
result 'a probe takes options only'
run 0 "$MIXTUNE" probe --help
expect 'cost of a launch' out
result 'what the help says'

finish
