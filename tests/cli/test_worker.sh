#!/bin/bash
# Whatever a kernel does, the sweep lives: bad kernels are labelled rows among good ones, whose times and winner do not
# change; a worker that hangs or dies is replaced; ^C and SIGTERM end a sweep within seconds; two sweeps keep apart.
# shellcheck disable=SC2054,SC2317 # commas inside values, functions called by name
set -u
export MIXTUNE_LOG=info
. tests/cli/cases.sh
. tests/cli/workers.sh
device=soft:a100-sxm-80g

sql() { sqlite3 "$1" "$2"; }

bad_kernels "$TMPDIR/bad"
space() { # file, stages
    cat >"$TMPDIR/$1" <<YAML
family: sm80
values:
  tile_n: [64]
  tile_m: [16]
  stages: [$2]
  split_k: [1, 2]
YAML
}
space good.yaml 3
space all.yaml '5, 6, 3, 7, 8'
sweep() { # database, space, further options
    local base=$1 space=$2
    shift 2
    LD_PRELOAD=$clock MIXTUNE_TEMPLATES=$TMPDIR/bad "$MIXTUNE" sweep --device "$device" --quick --space "$TMPDIR/$space" --db "$base" \
        --shape 200,300 --m 1,17 "$@"
}
outcomes() { # database, stages: each outcome with its number
    sql "$1" "SELECT outcome, count(*) FROM current JOIN knob ON knob.config = config_id AND knob.name = 'stages'
              WHERE knob.value = $2 AND family = 'sm80' GROUP BY 1 ORDER BY 1" | tr '\n' ' '
}
want_outcomes() { # database, stages, what
    local got
    got=$(outcomes "$1" "$2")
    [ "$got" = "$3 " ] || verdict="$verdict stages=$2 came out as '$got', not '$3'; "
}

run 0 sweep "$TMPDIR/good" good.yaml --json
cp "$TMPDIR/out" "$TMPDIR/winners"
SOFTGPU_WATCHDOG=2000000 run 0 sweep "$TMPDIR/all" all.yaml --json
want_outcomes "$TMPDIR/all" 3 'ok|4'
want_outcomes "$TMPDIR/all" 4 'ok|2'
want_outcomes "$TMPDIR/all" 5 'refused|3 timeout|1'
want_outcomes "$TMPDIR/all" 6 'crash|1 refused|3'
want_outcomes "$TMPDIR/all" 7 'illegal-address|1 refused|3'
want_outcomes "$TMPDIR/all" 8 'wrong|4'
cmp -s "$TMPDIR/out" "$TMPDIR/winners" || verdict="$verdict other winners; "
result 'hanging, crashing, out-of-bounds and wrong kernels are labelled, and the good ones win as without them'

[ "$(sql "$TMPDIR/all" "SELECT count(*) FROM current WHERE outcome = 'refused' AND message LIKE 'quarantined: its binary failed twice before (%'")" = 9 ] ||
    verdict='the refused rows do not say why'
result 'other launches of a bad binary are recorded as quarantined'

SOFTGPU_WATCHDOG=2000000 run 0 sweep "$TMPDIR/all" all.yaml --shape 80,300
verdict+=$(sql "$TMPDIR/all" "SELECT 'ran again: ', outcome, config FROM current WHERE n = 80 AND outcome IN ('timeout', 'crash', 'illegal-address')")
result 'a later sweep into the same database remembers them'

# Mended kernels under the same name would have other binaries; the same ones fail again, each once.
SOFTGPU_WATCHDOG=2000000 run 0 sweep "$TMPDIR/all" all.yaml --retry --json
expect '16 candidates to measure' err
cmp -s "$TMPDIR/out" "$TMPDIR/winners" || verdict="$verdict other winners; "
[ "$(sql "$TMPDIR/all" "SELECT outcome, count(*) FROM measurement JOIN layer ON layer.id = measurement.layer WHERE n = 200
    AND outcome IN ('timeout', 'crash', 'illegal-address') GROUP BY 1 ORDER BY 1" | tr '\n' ' ')" = 'crash|2 illegal-address|2 timeout|2 ' ] ||
    verdict="$verdict the bad binaries were not run again; "
result '--retry measures again what failed'

no_watchdog
space hang.yaml '5, 3'
run 0 sweep "$TMPDIR/hang" hang.yaml --json --timeout 2s
want_outcomes "$TMPDIR/hang" 5 'refused|3 timeout|1'
want_outcomes "$TMPDIR/hang" 3 'ok|4'
[ "$(sql "$TMPDIR/hang" "SELECT message FROM current WHERE outcome = 'timeout'")" = 'no sign of life for 2 s while it was proved' ] ||
    verdict="$verdict the timeout does not say where it was; "
cmp -s "$TMPDIR/out" "$TMPDIR/winners" || verdict="$verdict other winners; "
result 'a worker that does not come back is ended and replaced'

for signal in INT TERM KILL; do
    signalled $signal sweep "$TMPDIR/signal-$signal" hang.yaml --timeout 9h
    [ $signal = KILL ] || expect 'interrupted after [0-9]+ of 48 candidates; the same command goes on from there' err
    result "SIG$signal ends a sweep whose kernel hangs, and its worker"
done

run 0 sweep "$TMPDIR/signal-KILL" hang.yaml --json --timeout 2s
cmp -s "$TMPDIR/out" "$TMPDIR/winners" || verdict="$verdict other winners; "
result 'the same command goes on from there'

begin_busy sweep "$TMPDIR/segv" hang.yaml --json --timeout 9h
kill -SEGV "$worker"
next_worker SEGV
ended 0
want_outcomes "$TMPDIR/segv" 5 'crash|1 refused|3'
[ "$(sql "$TMPDIR/segv" "SELECT message FROM current WHERE outcome = 'crash'")" = 'its process was ended by signal 11 (Segmentation fault) while it was proved' ] ||
    verdict="$verdict the crash does not say what happened; "
cmp -s "$TMPDIR/out" "$TMPDIR/winners" || verdict="$verdict other winners; "
result 'a worker that dies twice of itself is a crash of its candidate alone'

bench() { LD_PRELOAD=$clock MIXTUNE_TEMPLATES=$TMPDIR/bad "$MIXTUNE" bench --device "$device" --quick --shape 17,200,300 --config stages=3 --config stages=5; }
for signal in INT TERM; do
    reached='^200x300 .*,stages=3' signalled $signal bench
    expect '^200x300 .*,stages=3' out
    result "SIG$signal ends a bench whose kernel hangs, and its worker"
done

# Two sweeps at once.
sweep "$TMPDIR/two" hang.yaml --timeout 9h >"$TMPDIR/out1" 2>"$TMPDIR/err1" &
first=$!
worker=$(child_of "$(child_of $first)")
wait_until_busy "$worker"
run 1 sweep "$TMPDIR/two" hang.yaml --no-wait
expect 'process [0-9]+ sweeps on .* without --no-wait' err
result 'a second sweep of one device and database refuses with --no-wait'
sweep "$TMPDIR/two" hang.yaml --json >"$TMPDIR/out" 2>"$TMPDIR/err" &
second=$!
await grep -qE 'process [0-9]+ sweeps on .*; waiting' "$TMPDIR/err"
kill -SEGV "$worker" # else the first would never end
command=$(child_of $first)
next_worker SEGV
wait $first || verdict="$verdict the first failed; "
wait $second || verdict="$verdict the second failed; "
expect '0 candidates to measure, 48 measured before' err
cmp -s "$TMPDIR/out" "$TMPDIR/winners" || verdict="$verdict other winners; "
[ "$(sql "$TMPDIR/two" 'PRAGMA integrity_check')" = ok ] || verdict="$verdict the database is corrupt; "
[ "$(sql "$TMPDIR/two" 'SELECT count(*) FROM measurement')" = 48 ] || verdict="$verdict something was measured twice; "
result 'without it waits, and then has nothing left to do'

finish
