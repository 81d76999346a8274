#!/bin/bash
# Whatever a kernel does to `mixtune verify` is a line of its output, costs no other line, and does not keep the command from ending.
# shellcheck disable=SC2054,SC2317 # commas inside values, functions called by name
set -u
. tests/cli/cases.sh
. tests/cli/workers.sh
h100=(--device soft:h100-sxm)
of_family() { grep -cE "^right +$1 " "$TMPDIR/out"; }

bad_kernels "$TMPDIR/bad"
no_watchdog
cat >"$TMPDIR/bad.yaml" <<'YAML'
family: sm80
values:
  tile_n: [64]
  tile_m: [16]
  stages: [3, 5, 6, 7, 8]
  split_k: [1, 2]
YAML
cat >"$TMPDIR/good.yaml" <<'YAML'
family: sm90
values:
  tile_m: [24]
  stages: [3]
YAML
verify() { # options
    LD_PRELOAD=$clock MIXTUNE_TEMPLATES=$TMPDIR/bad "$MIXTUNE" verify --quiet "${h100[@]}" --shape 33,257,300 "$@"
}

SOFTGPU_WATCHDOG=2000000 run 2 verify --space "$TMPDIR/bad.yaml,$TMPDIR/good.yaml"
cp "$TMPDIR/out" "$TMPDIR/by_the_device"
expect '^timeout +sm80 .*CUDA_ERROR_LAUNCH_TIMEOUT.*,stages=5,' out
result "the device's own watch ends a kernel"

run 2 verify --space "$TMPDIR/bad.yaml,$TMPDIR/good.yaml" --timeout 3s
for split in 1 2; do
    expect "^right +sm80 .*,stages=3,.*split_k=$split" out
    expect "^timeout +sm80 .* 33,257,300  no sign of life for 3 s while it was proved  .*,stages=5,.*split_k=$split" out
    expect "^crash +sm80 .*CUDA_ERROR_LAUNCH_FAILED.*,stages=6,.*split_k=$split" out
    expect "^illegal-address +sm80 .*CUDA_ERROR_ILLEGAL_ADDRESS.*,stages=7,.*split_k=$split" out
    expect "^wrong +sm80 .*elements are wrong.*,stages=8,.*split_k=$split" out
done
[ "$(of_family sm90)" = 2 ] || verdict="$verdict not two lines of sm90; "
expect '^6 right, 2 wrong, 0 refused, 6 failed$' out
diff <(sed 's/  .*//' "$TMPDIR/by_the_device") <(sed 's/  .*//' "$TMPDIR/out") >>"$TMPDIR/err" || verdict="$verdict other verdicts than the device's; "
result "kernels that hang, crash, fault or err are lines, and the others are verified as ever"

run 1 verify --space "$TMPDIR/bad.yaml,$TMPDIR/good.yaml" --timeout 3s --give-up 2 --json
[ "$(grep -c '"verdict":"timeout"' "$TMPDIR/out")" = 2 ] || verdict="$verdict not two timeouts; "
[ "$(grep -c '"family":"sm90".*"verdict":"right"' "$TMPDIR/out")" = 2 ] || verdict="$verdict not two lines of sm90; "
forbid 'stages=[678]' out
expect '^{"right":6,"wrong":0,"refused":0,"failed":2,"skipped":6}$' out
expect 'warning: sm80 is given up after 2 kernels' err
result "after --give-up the rest of a family is skipped, and no other family"

mkdir "$TMPDIR/quantize"
sed 's/__launch_bounds__.*quantize_act(.*{$/&\n    for (;;)\n        asm volatile("");/' templates/quantize_act.cu >"$TMPDIR/quantize/quantize_act.cu"
run 1 env LD_PRELOAD="$clock" MIXTUNE_TEMPLATES="$TMPDIR/quantize" "$MIXTUNE" verify --quiet "${h100[@]}" --shape 33,257,300 --shape 5,100,300 --timeout 3s --give-up 1
expect '^timeout +quantize ' out
[ "$(of_family sm80) $(of_family sm90)" = "2 2" ] || verdict="$verdict not two lines of each; "
expect '^4 right, 0 wrong, 0 refused, 1 failed, 1 skipped$' out
result "a quantisation that hangs leaves the GEMMs those of the host"

# $reached: the worker hangs from there on.
export reached='^right +sm80 .*,stages=3,.*split_k=2'
for signal in INT TERM KILL; do
    signalled $signal verify --space "$TMPDIR/bad.yaml" --timeout 9h
    [ $signal = KILL ] || expect '^mixtune: interrupted: 4 right, 0 wrong so far' err
    result "SIG$signal ends it while a kernel hangs, and its worker"
done

sed -i 's/stages: .*/stages: [3, 5, 4]/; s/split_k: .*/split_k: [1]/' "$TMPDIR/bad.yaml"
reached='^right +sm80 .*,stages=3,.*split_k=1' crashed 1 verify --space "$TMPDIR/bad.yaml"
expect '^crash +sm80 .*its process was ended by signal 11 \(Segmentation fault\) while it was proved  .*,stages=5,' out
expect '^right +sm80 .*tile_n=64,.*,stages=4,' out
expect '^4 right, 0 wrong, 0 refused, 1 failed$' out
result "a worker that dies is a crash of its configuration alone"

# timeout(1) signals the command itself and then its group. The clock stands between the two signals while the worker does.
taken() { grep -q '^ShdPnd:.*0000$' "/proc/$1/status"; } # process: no signal waits
reached='^right +quantize' begin_busy verify --config stages=5 --timeout 9h
kill -STOP "$worker"
kill -TERM "$command"
await taken "$command"
kill -TERM "$command"
await taken "$command"
kill -CONT "$worker"
ended 75
expect '^mixtune: interrupted: 1 right' err
result "SIGTERM that comes twice at once, as from timeout, ends it in good order"

finish
