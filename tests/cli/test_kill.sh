#!/bin/bash
# A sweep killed at 50 random moments, and started again each time, ends with the rows of one that nobody disturbed.
# KILLS and KILL_SECONDS change how often and for how long; a slow machine gets fewer kills, and the test says how many.
# shellcheck disable=SC2317 # a function called by name
set -u
export MIXTUNE_LOG=info
kills=${KILLS:-50}
seconds=${KILL_SECONDS:-60}

cat >"$TMPDIR/space.yaml" <<'YAML'
family: sm80
values:
  tile_n: [64]
  tile_m: [8, 16]
  stages: [3]
  split_k: [1, 2]
YAML
sweep() { # database
    exec "$MIXTUNE" sweep --device soft:a100-sxm-80g --quick --space "$TMPDIR/space.yaml" --db "$1" \
        --shape 64,300 --shape 100,256 --m 1,2,3,4,5,7,8,9,15,16,17,33 --scheme w4a8,w8a8,w4.4a8
}
rows() { # database
    sqlite3 "$1" 'SELECT family, config.config, n, k, m, scheme, group_size, dtype, binary, outcome, message, origin, cache_state,
        hex(samples), median_ns, low_ns, high_ns, registers, smem_bytes, spill_bytes
        FROM measurement JOIN config ON config.id = measurement.config JOIN layer ON layer.id = measurement.layer
        ORDER BY 1, 2, 3, 4, 5, 6, 7, 8, 13'
}
count() { sqlite3 "$1" 'SELECT count(*) FROM measurement' 2>/dev/null || echo 0; }
fail() {
    echo "not ok 1 - killed $done times, the sweep ends with the same rows"
    echo "# $1"
    tail -n 20 "$TMPDIR/err" | sed 's/^/# stderr: /'
    echo 1..1
    exit 1
}

done=0
(sweep "$TMPDIR/whole") >"$TMPDIR/winners" 2>"$TMPDIR/err" || fail "the undisturbed sweep ends with $?"
rows "$TMPDIR/whole" >"$TMPDIR/want"

# The first moments are those of starting: they are hit too, but most kills come while candidates are measured.
RANDOM=7
before=0
end=$((SECONDS + seconds))
while [ $done -lt "$kills" ] && [ $SECONDS -lt $end ]; do
    sweep "$TMPDIR/killed" >"$TMPDIR/out" 2>"$TMPDIR/err" &
    pid=$!
    sleep "0.$(printf %03d $((RANDOM % 400)))"
    kill -KILL $pid 2>/dev/null
    wait $pid 2>/dev/null
    code=$?
    [ $code = 0 ] && break # it was through
    [ $code = 137 ] || fail "exit code $code"
    done=$((done + 1))
    after=$(count "$TMPDIR/killed")
    [ "$after" -ge "$before" ] || fail "$before rows before kill $done, $after after it"
    before=$after
done 2>/dev/null # the shell's own word on killed processes

(sweep "$TMPDIR/killed") >"$TMPDIR/out" 2>"$TMPDIR/err" || fail "the last run ends with $?"
rows "$TMPDIR/killed" >"$TMPDIR/got"
[ -s "$TMPDIR/want" ] || fail 'no rows at all'
cmp -s "$TMPDIR/want" "$TMPDIR/got" || fail "other rows: $(diff "$TMPDIR/want" "$TMPDIR/got" | cut -c -300 | head -4)"
cmp -s "$TMPDIR/winners" "$TMPDIR/out" || fail 'other winners'
[ "$(sqlite3 "$TMPDIR/killed" 'PRAGMA integrity_check')" = ok ] || fail 'the database is corrupt'
[ -z "$(pgrep -f -- "--db $TMPDIR/killed")" ] || fail 'a worker outlived its sweep'
[ $done -ge 5 ] || fail "only $done kills"
echo "ok 1 - killed $done times, $before of $(wc -l <"$TMPDIR/want") rows in by then, the sweep ends with the same rows"
[ "$done" = "$kills" ] || echo "# $kills kills were wanted; there was time for $done"
echo 1..1
