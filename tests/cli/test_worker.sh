#!/bin/bash
# Whatever a kernel does, the sweep lives: bad kernels are labelled rows among good ones, whose times and winner do not
# change; a worker that hangs or dies is replaced; ^C and SIGTERM end a sweep within seconds; two sweeps keep apart.
# shellcheck disable=SC2054,SC2317 # commas inside values, functions called by name
set -u
export MIXTUNE_LOG=info
. tests/cli/cases.sh
device=soft:a100-sxm-80g

sql() { sqlite3 "$1" "$2"; }

# The depth of the pipeline says how the kernel misbehaves: 3 and the default of 4 are good.
mkdir "$TMPDIR/bad"
cp templates/gemm_sm80.cu "$TMPDIR/bad/"
sed -i '/^    gemm_sm80(const __grid_constant__/r /dev/stdin' "$TMPDIR/bad/gemm_sm80.cu" <<'CU'
#if STAGES == 5
    for (;;) // hangs
        asm volatile("");
#elif STAGES == 6
    asm volatile("trap;");
#elif STAGES == 7
    static_cast<volatile unsigned short *>(args.y)[1 << 28] = 1; // far outside
#elif STAGES == 8
    if (blockIdx.x == 0) // leaves a tile as it was
        return;
#endif
CU
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
    MIXTUNE_TEMPLATES=$TMPDIR/bad "$MIXTUNE" sweep --device "$device" --quick --space "$TMPDIR/$space" --db "$base" \
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
result "$verdict" 'hanging, crashing, out-of-bounds and wrong kernels are labelled, and the good ones win as without them'

verdict=
[ "$(sql "$TMPDIR/all" "SELECT count(*) FROM current WHERE outcome = 'refused' AND message LIKE 'quarantined: its binary failed before (%'")" = 9 ] ||
    verdict='the refused rows do not say why'
result "$verdict" 'other launches of a bad binary are recorded as quarantined'

SOFTGPU_WATCHDOG=2000000 run 0 sweep "$TMPDIR/all" all.yaml --shape 80,300
verdict=$verdict$(sql "$TMPDIR/all" "SELECT 'ran again: ', outcome, config FROM current WHERE n = 80 AND outcome IN ('timeout', 'crash', 'illegal-address')")
result "$verdict" 'a later sweep into the same database remembers them'

# Mended kernels under the same name would have other binaries; the same ones fail again, each once.
SOFTGPU_WATCHDOG=2000000 run 0 sweep "$TMPDIR/all" all.yaml --retry --json
expect '16 candidates to measure' err
cmp -s "$TMPDIR/out" "$TMPDIR/winners" || verdict="$verdict other winners; "
[ "$(sql "$TMPDIR/all" "SELECT outcome, count(*) FROM measurement JOIN layer ON layer.id = measurement.layer WHERE n = 200
    AND outcome IN ('timeout', 'crash', 'illegal-address') GROUP BY 1 ORDER BY 1" | tr '\n' ' ')" = 'crash|2 illegal-address|2 timeout|2 ' ] ||
    verdict="$verdict the bad binaries were not run again; "
result "$verdict" '--retry measures again what failed'

# The device itself now takes the loop for work: the sweep's own watch must end it.
export SOFTGPU_WATCHDOG=1000000000000
space hang.yaml '5, 3'
begin=$SECONDS
run 0 sweep "$TMPDIR/hang" hang.yaml --json --timeout 2s
[ $((SECONDS - begin)) -lt 60 ] || verdict="$verdict took $((SECONDS - begin)) s; "
want_outcomes "$TMPDIR/hang" 5 'refused|3 timeout|1'
want_outcomes "$TMPDIR/hang" 3 'ok|4'
[ "$(sql "$TMPDIR/hang" "SELECT message FROM current WHERE outcome = 'timeout'")" = 'no sign of life for 2 s while it was proved' ] ||
    verdict="$verdict the timeout does not say where it was; "
cmp -s "$TMPDIR/out" "$TMPDIR/winners" || verdict="$verdict other winners; "
result "$verdict" 'a worker that does not come back is ended and replaced'

# Signals, while a kernel hangs. The sweep must be in it: its worker then has used processor time for a while.
child_of() { # process: its first child, once there is one
    local child
    for _ in $(seq 400); do
        child=$(cat "/proc/$1/task/$1/children" 2>/dev/null)
        [ -n "$child" ] && break
        sleep 0.05
    done
    echo "${child%% *}"
}
wait_until_busy() { # worker
    local ticks=0
    for _ in $(seq 400); do
        ticks=$(awk '{ print $14 }' "/proc/$1/stat" 2>/dev/null || echo 0)
        [ "${ticks:-0}" -gt 60 ] && break
        sleep 0.05
    done
}
gone() { # process
    for _ in $(seq 100); do
        [ -d "/proc/$1" ] || return 0
        sleep 0.05
    done
    return 1
}
for signal in INT TERM KILL; do
    sweep "$TMPDIR/signal-$signal" hang.yaml >"$TMPDIR/out" 2>"$TMPDIR/err" &
    # The command is a child of the function's shell, and the worker one of the command.
    shell=$!
    command=$(child_of $shell)
    worker=$(child_of "$command")
    wait_until_busy "$worker"
    begin=$SECONDS
    kill -$signal "$command"
    wait $shell
    code=$?
    verdict=
    [ $((SECONDS - begin)) -le 15 ] || verdict="it took $((SECONDS - begin)) s; "
    if [ $signal = KILL ]; then
        [ $code = 137 ] || verdict="$verdict exit code $code; "
    else
        [ $code = 75 ] || verdict="$verdict exit code $code; "
        expect 'interrupted after [0-9]+ of 16 candidates; the same command goes on from there' err
    fi
    gone "$worker" || verdict="$verdict the worker outlived it; "
    result "$verdict" "SIG$signal ends a sweep whose kernel hangs, and its worker"
done

run 0 sweep "$TMPDIR/signal-KILL" hang.yaml --json --timeout 2s
cmp -s "$TMPDIR/out" "$TMPDIR/winners" || verdict="$verdict other winners; "
result "$verdict" 'the same command goes on from there'

sweep "$TMPDIR/segv" hang.yaml --json >"$TMPDIR/out" 2>"$TMPDIR/err" &
shell=$!
worker=$(child_of "$(child_of $shell)")
wait_until_busy "$worker"
kill -SEGV "$worker"
wait $shell
code=$?
verdict=
[ $code = 0 ] || verdict="exit code $code; "
want_outcomes "$TMPDIR/segv" 5 'crash|1 refused|3'
[ "$(sql "$TMPDIR/segv" "SELECT message FROM current WHERE outcome = 'crash'")" = 'its process was ended by signal 11 (Segmentation fault) while it was proved' ] ||
    verdict="$verdict the crash does not say what happened; "
cmp -s "$TMPDIR/out" "$TMPDIR/winners" || verdict="$verdict other winners; "
result "$verdict" 'a worker that dies is a crash of its candidate alone'

# Two sweeps at once.
sweep "$TMPDIR/two" hang.yaml --timeout 4s >"$TMPDIR/out1" 2>"$TMPDIR/err1" &
first=$!
wait_until_busy "$(child_of "$(child_of $first)")"
run 1 sweep "$TMPDIR/two" hang.yaml --no-wait
expect 'process [0-9]+ sweeps on .* without --no-wait' err
result "$verdict" 'a second sweep of one device and database refuses with --no-wait'
run 0 sweep "$TMPDIR/two" hang.yaml --json
expect 'process [0-9]+ sweeps on .*; waiting' err
expect '0 candidates to measure, 16 measured before' err
cmp -s "$TMPDIR/out" "$TMPDIR/winners" || verdict="$verdict other winners; "
wait $first || verdict="$verdict the first failed; "
[ "$(sql "$TMPDIR/two" 'PRAGMA integrity_check')" = ok ] || verdict="$verdict the database is corrupt; "
[ "$(sql "$TMPDIR/two" 'SELECT count(*) FROM measurement')" = 16 ] || verdict="$verdict something was measured twice; "
result "$verdict" 'without it waits, and then has nothing left to do'

finish
