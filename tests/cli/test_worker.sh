#!/bin/bash
# Whatever a kernel does, the sweep lives: bad kernels are labelled rows among good ones, whose times and winner do not
# change; a worker that hangs or dies is replaced; ^C and SIGTERM end a sweep within seconds; two sweeps keep apart.
# shellcheck disable=SC2054,SC2317 # commas inside values, functions called by name
set -u
export MIXTUNE_LOG=info
. tests/cli/cases.sh
. tests/cli/workers.sh
# shellcheck source=tests/cli/real.sh
. tests/cli/real.sh
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
        --shape 200,300 --m "${tokens:-1,17}" "$@"
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

# ---- what befalls the machine ----
no_failures() { # database: no row blames a kernel
    verdict+=$(sql "$1" "SELECT outcome || ' of ' || config || ': ' || message || '; ' FROM fact WHERE outcome <> 'ok'")
}
cat >"$TMPDIR/one.yaml" <<'YAML'
family: sm80
values:
  tile_n: [64]
  tile_m: [16]
  stages: [5, 3]
YAML
tokens=1
begin_busy sweep "$TMPDIR/foreign" one.yaml --timeout 9h
kill -KILL "$worker"
next_worker KILL
ended 1
expect 'warning: its process was killed by somebody else, with signal 9 .* while it was proved; .*; tried again' err
expect "mixtune: twice at 200x300 m=1, sm80: its process was killed by somebody else.* --skip 'sm80\|tile_n=64,[^|]*stages=5[^|]*\|1\|200\|300\|w4a8\|0\|128\|fp16'" err
no_failures "$TMPDIR/foreign"
result 'a candidate whose worker is killed twice by somebody else stops the sweep, which names it'

skip=$(sed -n "s/.*--skip '\([^']*\)'.*/\1/p" "$TMPDIR/err")
run 0 sweep "$TMPDIR/foreign" one.yaml --skip "$skip"
expect 'left out, as --skip says: sm80\|' err
no_failures "$TMPDIR/foreign"
want_outcomes "$TMPDIR/foreign" 3 'ok|1'
[ "$(sql "$TMPDIR/foreign" "SELECT count(*) FROM knob WHERE name = 'stages' AND value = 5")" = 0 ] || verdict+=' it has a row; '
run 0 sweep "$TMPDIR/foreign" one.yaml --skip "$skip" --skip nobody
expect '--skip names 1 candidates that this sweep does not measure' err
result '--skip leaves it out, and the sweep goes on from there'

unset tokens
mkdir "$TMPDIR/worse"
sed 's/STAGES == 7/STAGES > 2/' "$TMPDIR/bad/gemm_sm80.cu" >"$TMPDIR/worse/gemm_sm80.cu"
fails() { # further options: the default fails, too, of which each space has one
    MIXTUNE_TEMPLATES=$TMPDIR/worse "$MIXTUNE" sweep --device "$device" --quick --space "$TMPDIR/good.yaml" --db "$TMPDIR/failed" --shape 200,300 "$@"
}
run 1 fails --m 1
expect 'all 3 candidates failed, 2 of them with the outcome illegal-address, as in: ' err
run 1 fails --m 1
expect ': 0 candidates to measure' err
expect 'all 3 candidates failed' err
result 'a sweep in which all failed ends with 1 and the commonest reason'

sed 's/^memory_mib:.*/memory_mib: 1/; s/^name:.*/name: "small"/' configs/devices/a100-sxm-80g.yaml >"$TMPDIR/small.yaml"
device=soft:$TMPDIR/small.yaml
run 0 sweep "$TMPDIR/small" good.yaml --shape 2048,512 --scheme w8a8
verdict+=$(sql "$TMPDIR/small" "SELECT 'n=' || n || ' is ' || outcome || ': ' || message || '; ' FROM current WHERE NOT is_baseline AND ((outcome = 'ok') <> (n = 200)
    OR outcome NOT IN ('ok', 'out-of-memory') OR outcome <> 'ok' AND (message NOT LIKE 'it needs % bytes of device memory and more%' OR tries <> 2))")
expect '2 problems have no good configuration, as 2048x512 m=1 w8a8' err
run 0 sweep "$TMPDIR/small" good.yaml --shape 2048,512 --scheme w8a8
expect ': 0 candidates to measure' err
result 'a layer that is too large for the device says how many bytes it needs'
device=soft:a100-sxm-80g

# Errors of a driver: 214 is an uncorrectable error of the memory, 701 lack of resources for a launch.
real_libraries "$TMPDIR/lib"
real_device "$TMPDIR/device.yaml"
real_space "$TMPDIR/real.yaml"
broken() { # how many launches are good, and how many of the next break; error, database
    echo "$1" >"$TMPDIR/breaks"
    env -u CUDA_HOME LD_LIBRARY_PATH="$TMPDIR/lib" SOFTGPU_DEVICE="$TMPDIR/device.yaml" FAKE_CUDA_BREAKS="$TMPDIR/breaks" FAKE_CUDA_ERROR="$2" \
        "$MIXTUNE" sweep --device cuda:0 --quick --space "$TMPDIR/real.yaml" --shape 64,256 --m 4 --finals 0 --db "$TMPDIR/$3"
}
run 0 broken '5 1' 214 once
expect 'warning: .*\(214\).*; tried again in another process' err
no_failures "$TMPDIR/once"
run 1 broken '5 9999' 214 ecc
expect 'twice at .*\(214\).* --skip' err
no_failures "$TMPDIR/ecc"
run 0 broken '0 0' 214 ecc
expect '[1-9][0-9]* candidates to measure' err
run 1 broken '5 9999' 2 shared
expect 'CUDA_ERROR_OUT_OF_MEMORY.*other processes compute on rehearsal' err
no_failures "$TMPDIR/shared"
run 1 broken '5 9999' 701 resources
expect 'all [0-9]+ candidates failed, [0-9]+ of them with the outcome launch-failed, as in: .*CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES' err
result 'errors of the machine are no rows, and those of a launch are'

# Rows of version 9, from before a failure had to come twice.
sql "$TMPDIR/all" "UPDATE measurement SET tries = 1 WHERE outcome = 'timeout'"
SOFTGPU_WATCHDOG=2000000 run 0 sweep "$TMPDIR/all" all.yaml
expect ': 1 candidates to measure' err
want_outcomes "$TMPDIR/all" 5 'refused|7 timeout|1'
result 'a failure that came once is measured again'

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
