#!/bin/bash
# A sweep killed at 30 random moments, and started again each time, ends with the rows of one that nobody disturbed. So does one whose workers
# are killed as often, or stopped. KILLS and KILL_SECONDS change how often and for how long; a slow machine gets fewer kills, and the test says
# how many.
# shellcheck disable=SC2317 # functions called by name
set -u
export MIXTUNE_LOG=info
. tests/cli/cases.sh
kills=${KILLS:-30}
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

# Its worker, when it has one. A baseline's worker is killed like any other.
worker_of() { tr -d ' ' <"/proc/$1/task/$1/children" 2>/dev/null; }
same_rows() { # database
    rows "$1" >"$TMPDIR/got"
    diff "$TMPDIR/want" "$TMPDIR/got" >"$TMPDIR/other" || verdict+=" other rows: $(cut -c -300 "$TMPDIR/other" | head -4); "
    cmp -s "$TMPDIR/winners" "$TMPDIR/out" || verdict+=" other winners; "
}

# Whoever kills a worker, no candidate is to blame: the sweep goes on, or ends with 1 and goes on the next time.
done=0 sweeps=0
end=$((SECONDS + seconds))
while [ $SECONDS -lt $end ] && [ $sweeps -le "$kills" ]; do
    "${sweep[@]}" --db "$TMPDIR/workers" >"$TMPDIR/out" 2>"$TMPDIR/err" &
    pid=$! code=0
    sweeps=$((sweeps + 1))
    while [ $done -lt "$kills" ] && [ -d "/proc/$pid" ]; do
        sleep "0.0$(printf %02d $((RANDOM % 60)))"
        kill -KILL "$(worker_of $pid)" && done=$((done + 1))
    done 2>/dev/null
    wait $pid || code=$?
    [ "$code" = 0 ] && [ $done -lt "$kills" ] && rm -f "$TMPDIR/workers"* && continue # it was through: another
    [ "$code" = 0 ] && break
    [ "$code" = 1 ] || verdict+=" exit code $code; "
    expect "killed by somebody else|died while it opened" err
done
[ "$code" = 0 ] || verdict+=" the last of $sweeps sweeps ended with $code; "
[ $done = "$kills" ] || verdict+=" only $done kills; "
same_rows "$TMPDIR/workers"
result "its workers killed $done times, in $sweeps sweeps, it ends with the same rows"

# A pause that is longer than the patience: of the command, of its worker, of both.
"${sweep[@]}" --db "$TMPDIR/paused" --timeout 1s >"$TMPDIR/out" 2>"$TMPDIR/err" &
pid=$!
for who in command worker both; do
    await has_rows $pid 1
    worker=$(worker_of $pid)
    stopped=("$pid" "$worker")
    [ $who = command ] && stopped=("$pid")
    [ $who = worker ] && stopped=("$worker")
    kill -STOP "${stopped[@]}" && sleep 1.5
    kill -CONT "${stopped[@]}"
done 2>/dev/null
wait $pid || verdict+=" exit code $?; "
forbid 'no sign of life|tried again' err
same_rows "$TMPDIR/paused"
result 'stopped for longer than --timeout and continued, it ends with the same rows'
finish
