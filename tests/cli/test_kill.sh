#!/bin/bash
# A sweep killed at 50 random moments, and started again each time, ends with the rows of one that nobody disturbed.
# KILLS and KILL_SECONDS change how often and for how long; a slow machine gets fewer kills, and the test says how many.
# shellcheck disable=SC2317 # functions called by name
set -u
export MIXTUNE_LOG=info
. tests/cli/cases.sh
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
# shellcheck disable=SC2054 # commas inside values
sweep=("$MIXTUNE" sweep --device soft:a100-sxm-80g --quick --space "$TMPDIR/space.yaml" --shape 64,300 --shape 100,256
    --m 1,2,3,4,5,7,8,9,15,16,17,33 --scheme w4a8,w8a8,p10)
rows() { # database
    sqlite3 "$1" 'SELECT family, config.config, n, k, m, scheme, group_size, dtype, binary, outcome, message, origin, cache_state,
        hex(samples), median_ns, low_ns, high_ns, registers, smem_bytes, spill_bytes
        FROM measurement JOIN config ON config.id = measurement.config JOIN layer ON layer.id = measurement.layer
        ORDER BY 1, 2, 3, 4, 5, 6, 7, 8, 13'
}
count() { sqlite3 "$1" 'SELECT count(*) FROM measurement' 2>/dev/null || echo 0; }
has_rows() { [ ! -d "/proc/$1" ] || [ "$(count "$TMPDIR/killed")" -ge "$2" ]; } # process, how many: or it is through
no_process() { ! pgrep -f -- "--db $TMPDIR/killed" >/dev/null; }

run 0 "${sweep[@]}" --db "$TMPDIR/whole"
cp "$TMPDIR/out" "$TMPDIR/winners"
rows "$TMPDIR/whole" >"$TMPDIR/want"
[ -s "$TMPDIR/want" ] || verdict+=" no rows at all; "

# One kill in four comes while it starts, the others after some candidates, at any moment of what follows.
RANDOM=7
done=0 before=0
end=$((SECONDS + seconds))
while [ $done -lt "$kills" ] && { [ $done -lt 8 ] || [ $SECONDS -lt $end ]; }; do
    "${sweep[@]}" --db "$TMPDIR/killed" >"$TMPDIR/out" 2>"$TMPDIR/err" &
    pid=$!
    some=$((RANDOM % 4))
    [ $some = 0 ] || await has_rows $pid $((before + some))
    sleep "0.0$(printf %02d $((RANDOM % 60)))"
    kill -KILL $pid 2>/dev/null
    wait $pid 2>/dev/null
    code=$?
    [ $code = 0 ] && break # it was through
    [ $code = 137 ] || verdict+=" exit code $code before kill $((done + 1)); "
    done=$((done + 1))
    after=$(count "$TMPDIR/killed")
    [ "$after" -ge "$before" ] || verdict+=" $before rows before kill $done, $after after it; "
    before=$after
done 2>/dev/null # the shell's own word on killed processes
[ $done -ge 8 ] || [ $done -ge "$kills" ] || verdict+=" only $done kills; "

run 0 "${sweep[@]}" --db "$TMPDIR/killed"
rows "$TMPDIR/killed" >"$TMPDIR/got"
diff "$TMPDIR/want" "$TMPDIR/got" >"$TMPDIR/other" || verdict+=" other rows: $(cut -c -300 "$TMPDIR/other" | head -4); "
cmp -s "$TMPDIR/winners" "$TMPDIR/out" || verdict+=" other winners; "
[ "$(sqlite3 "$TMPDIR/killed" 'PRAGMA integrity_check')" = ok ] || verdict+=" the database is corrupt; "
await no_process
result "killed $done times, $before of $(wc -l <"$TMPDIR/want") rows in by then, the sweep ends with the same rows"
[ "$done" = "$kills" ] || echo "# $kills kills were wanted; there was time for $done"
finish
