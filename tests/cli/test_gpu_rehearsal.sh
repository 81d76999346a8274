#!/bin/bash
# The fifteen minutes on a GPU, rehearsed on a software device: tests/gpu/check.sh as a whole, with kernels that hang, fault and compute wrong
# numbers, without tools that a machine may lack, and killed at random moments. A compute-sanitizer stands by that only runs what it
# is given.
# shellcheck disable=SC2317 # a function called by name
# shellcheck source=tests/cli/cases.sh
. tests/cli/cases.sh
# shellcheck source=tests/cli/real.sh
. tests/cli/real.sh
# shellcheck source=tests/cli/workers.sh
. tests/cli/workers.sh

# Tools that a machine with a GPU may lack: those that check.sh uses are there, others are not. Python is one of the others.
tools=$TMPDIR/tools
mkdir "$tools"
for tool in awk bash basename cat cp cut dirname dmesg env find grep gzip head ldconfig ldd ls mkdir mktemp mv nproc realpath rm sed setpriv sleep \
    sort tail tar tee timeout touch tr uname wc; do
    place=$(command -v "$tool") && ln -s "$place" "$tools/$tool"
done
sanitizer() { # exit code when --tool is memcheck
    # shellcheck disable=SC2016 # the stub's
    printf '#!/bin/bash\necho "$*" >>%s\ntool=$2\nwhile [[ $1 == --* ]]; do shift 2; done\n"$@" || exit\n[[ $tool$* != memcheck*sm90* ]] || exit %s\n' \
        "$TMPDIR/sanitized" "$1" >"$tools/compute-sanitizer"
    chmod +x "$tools/compute-sanitizer"
}
# shellcheck disable=SC2054 # words with commas between them
check=(env -u CUDA_HOME PATH="$tools" LD_PRELOAD="$clock" MIXTUNE_DEVICE=soft:h100-sxm REHEARSE=1 REFRESH=1 PATIENCE=3 ONLY=gate,timer,copy_,quantize
    tests/gpu/check.sh)
files() { find "$1" -type f | wc -l; }

# ---- nothing is wrong ----

# What needs no GPU is done before one is had: then no kernel is compiled.
export FILLED=$TMPDIR/filled
run 0 env BUILD="$BUILD" REHEARSE=1 ONLY=gate,timer,copy_,quantize,loads tests/gpu/fill.sh "$FILLED" soft:h100-sxm
expect '^fill: [0-9]+ kernels, .*; modelled times ' err
for file in images/nvrtc modelled/h100-sxm.db modelled/h100-sxm-sample.db; do
    [ -s "$FILLED/$file" ] || verdict="$verdict no $file; "
done
sanitizer 0
ln -s "$(command -v gnuplot)" "$tools/gnuplot"
run 0 env STATE="$TMPDIR/state" MIXTUNE_CACHE_DIR="$TMPDIR/cache" "${check[@]}" all "$TMPDIR/whole" --budget 3000
[ ! -e "$TMPDIR/cache/kernels" ] || verdict="$verdict $(files "$TMPDIR/cache/kernels") kernels were compiled; "
forbid '^failed' out
grep -E '^(ok|skipped) ' "$TMPDIR/whole/summary.txt" | sed 's/^[a-z]* *[0-9.]* s  //; s/:.*//; s/ [0-9,]*$//; s/ of each problem//' | uniq >"$TMPDIR/order"
diff - "$TMPDIR/order" >>"$TMPDIR/err" <<'END' || verdict="$verdict other steps, or another order; "
describe
load a kernel
compare with the software device
verify f16
verify sm80
verify sm80 mixed
verify sm80
verify sm90
verify sm90 mixed
verify sm90
probe the device's limits
sweep, up to 1
sweep, up to 2
sample
peers
memcheck sm80
memcheck sm90
memcheck f16
sweep, up to 3
sweep, up to 24
finals, in turns
correlate model and measurement
show
show what did not work
show --floor
report
export
dispatch from what was exported
T4 file
END
expect '^o +16 w4a8 +cold +[0-9.]+ +[0-9.]+ f16 +[0-9.]+ +[0-9.]+  sm[89]0 tile_' out
expect '^MODELLED' out
expect 'skipped.* peers: python3 has no PyTorch' out
[ "$(grep -c -- '--target-processes all .*verify' "$TMPDIR/sanitized")" = 3 ] || verdict="$verdict not three runs under the sanitizer; "
for file in gpu-check.log summary.txt check.db check.mixtune check.t4.json.gz report.html more.tar.gz; do
    [ -s "$TMPDIR/whole/$file" ] || verdict="$verdict no $file; "
done
for file in sample.db report/data/; do
    tar -tzf "$TMPDIR/whole/more.tar.gz" | grep -q "^$file" || verdict="$verdict no $file in more.tar.gz; "
done
[ "$(files "$TMPDIR/whole")" = 7 ] || verdict="$verdict $(files "$TMPDIR/whole") files, not seven; "
grep -v '^results are in' "$TMPDIR/out" | tail -n "$(wc -l <"$TMPDIR/whole/summary.txt")" | diff - "$TMPDIR/whole/summary.txt" >>"$TMPDIR/err" ||
    verdict="$verdict summary.txt is not what is printed last; "
result "the rehearsal runs every step of both parts, in their order"

# ---- tools that are not there, steps that fail ----

sanitizer 9
rm "$tools/gnuplot"
run 1 env STATE="$TMPDIR/state" "${check[@]}" rest "$TMPDIR/poor" --budget 3000
[ "$(grep -c '^failed' "$TMPDIR/out")" = 2 ] || verdict="$verdict not one failed step, once as it came and once in the table; "
expect '^failed .* memcheck sm90: exit code 9' out
expect '^skipped .* report: there is no gnuplot here; .*mixtune report --db poor/check.db' out
expect '^ok .* T4 file' out
expect '^ok .* verify sm80 1,100,300' "poor/summary.txt"
expect '^sweeps, samples and finals had [0-9]+ % of the rest' out
result "the second part goes on from the first; a step that fails is told, the others go on; without gnuplot the plots wait"
rm "$tools/compute-sanitizer"

# ---- families that are not right ----

# Kernels of the sm90 family with a line at their beginning.
broken() { # folder, line
    mkdir "$TMPDIR/$1"
    cp templates/gemm_sm90.cu "$TMPDIR/$1"
    awk -v line="$2" '{ print } /gemm_sm90\(const __grid_constant__ mt_gemm_args args\) \{/ { print line }' templates/gemm_sm90.cu >"$TMPDIR/$1/gemm_sm90.cu"
    grep -qF "$2" "$TMPDIR/$1/gemm_sm90.cu" || echo "gemm_sm90.cu has changed" >>"$TMPDIR/err"
}
# triage NAME LINE: the family is dropped, the others have a whole table.
dropped() {
    broken "$1" "$2"
    run 1 env STATE="$TMPDIR/state-$1" MIXTUNE_TEMPLATES="$TMPDIR/$1" SOFTGPU_WATCHDOG=1000000000000 PATIENCE=2 "${check[@]}" triage \
        "$TMPDIR/$1-out" --budget 3000
    expect "^failed .* verify sm90 1,100,300" out
    expect '^ +sm90 is dropped' out
    expect '^skipped .* verify sm90 5,256,256: sm90 is dropped' out
    expect '^ok .* sweep, up to 1' out
    expect '^o +1 w4a8 .* sm80 tile_' out
    expect '^o +16 w4a8 .* sm80 tile_' out
    forbid ' sm90 (tile|blocks)' out
}
dropped hang 'for (;;) asm volatile("");'
expect 'hangs|no sign of life|timeout' hang-out/gpu-check.log
result "a family that hangs is dropped, and the other has a whole table"

run 1 env STATE="$TMPDIR/state-hang" MIXTUNE_TEMPLATES="$TMPDIR/hang" SOFTGPU_WATCHDOG=1000000000000 PATIENCE=1 "${check[@]}" rest \
    "$TMPDIR/hang-out" --budget 3000
expect 'why: sm90 as it is by default' out
expect 'why: sm90 (promote=0|, other knobs)' out
expect '^ok .* sweep, up to 3' out
expect '^ok .* finals' out
expect '^skipped .* memcheck sm90: sm90 is dropped|^skipped .* compute-sanitizer' out
expect '^o +16 w4a8 .* sm80 tile_' out
result "the second part first looks into why, then goes on with the other"

dropped fault 'asm volatile("trap;");'
result "a family that faults is dropped"
dropped wrong 'if (blockIdx.x == 0) return;'
expect 'elements are wrong|deadlock|hang|barrier' wrong-out/gpu-check.log
result "a family of which nothing is right is dropped"

# ---- killed ----

# SIGKILL reaches nobody but the shell: a step that outlives it would hold the device.
out=$TMPDIR/killed base=$TMPDIR/state-killed
cp -R "$TMPDIR/state" "$base"
run 0 "$MIXTUNE" probe --quiet --device soft:h100-sxm --db "$TMPDIR/limits.db"
finished() { sqlite3 -readonly "$1" "SELECT DISTINCT layer, m, scheme, family, config FROM current" 2>/dev/null | LC_ALL=C sort; }
mkdir "$out"
echo "$base" >"$TMPDIR/pattern"
nothing_runs() { ! grep -qsaf "$TMPDIR/pattern" /proc/[0-9]*/cmdline; }
echo "sweep_work=(--model qwen2.5-0.5b --layers qkv,o --m 1,16,64 --scheme w4a8)" >"$TMPDIR/longer"
RANDOM=${KILL_SEED:-7}
for ((round = 0; round < ${KILLS:-3}; round++)); do
    rm -f "$base"/*/{swept,check.db,copy.db,sample.db} # each has all sweeps to do
    cp "$TMPDIR/limits.db" "$(echo "$base"/*)/check.db"
    env STATE="$base" PLAN="$TMPDIR/longer" "${check[@]}" rest "$out" --budget 3000 >"$TMPDIR/out" 2>"$TMPDIR/err" &
    pid=$!
    for ((i = RANDOM % 30 + 3; i > 0; i--)); do
        [ "$(files "$out")" -le 8 ] || verdict="$verdict over eight files; "
        sleep 0.1
    done
    finished "$base"/*/check.db >"$TMPDIR/before"
    kill -KILL "$pid" 2>/dev/null # it may be done
    wait "$pid" 2>/dev/null
    rm -rf "${out:?}"/*
    await nothing_runs # the sweep that was running ends too
    [ "$(sqlite3 "$(echo "$base"/*/check.db)" 'PRAGMA integrity_check')" = ok ] || verdict="$verdict the database is damaged; "
    finished "$base"/*/check.db | LC_ALL=C comm -23 "$TMPDIR/before" - >"$TMPDIR/lost"
    [ ! -s "$TMPDIR/lost" ] || verdict="$verdict $(wc -l <"$TMPDIR/lost") candidates are lost; "
done
run 0 env STATE="$base" PLAN="$TMPDIR/longer" "${check[@]}" rest "$out" --budget 3000
expect '^ok .* finals' out
[ "$(finished "$base"/*/check.db | wc -l)" -ge 30 ] || verdict="$verdict too few rows; "
result "killed at random moments, with OUT emptied, it loses nothing and goes on"

: >"$TMPDIR/out"
env STATE="$TMPDIR/state-stopped" "${check[@]}" triage "$TMPDIR/stopped" >"$TMPDIR/out" 2>"$TMPDIR/err" &
pid=$!
await has_said $pid '^ok .* verify sm80'
kill -TERM $pid
wait $pid
code=$?
[ "$code" = 75 ] || verdict+=" exit code $code, not 75; "
expect 'results are in' out
forbid '^ok .* T4 file' out
[ -s "$TMPDIR/stopped/summary.txt" ] || verdict="$verdict no summary.txt; "
result "SIGTERM leaves what was written"

# ---- the path of a real device ----

# The software device under the name of the real driver, beside libraries that do not start (test_real.sh has more of this).
real_libraries "$TMPDIR/lib"
real_device "$TMPDIR/device.yaml"
real_space "$TMPDIR/space.yaml"
cat >"$TMPDIR/plan" <<SH
sweep_work=(--shape 64,256 --m 4 --scheme w4a8) first=1 portions=(2) sample_work=("--shape 4,64,256 --scheme w4a8")
spaces() { space=$TMPDIR/space.yaml; }
SH
known=$TMPDIR/state-real/rehearsal--software-device--modelled-times-
mkdir -p "$known" && touch "$known/probed" # limits take a minute here
run 0 env BUILD="$BUILD" REHEARSE=1 ONLY=gate PLAN="$TMPDIR/plan" tests/gpu/fill.sh "$FILLED" soft:a100-sxm-80g
run 1 env -u CUDA_HOME PATH="$tools" LD_PRELOAD="$clock" LD_LIBRARY_PATH="$TMPDIR/lib" FAKE_CUBLAS=broken SOFTGPU_DEVICE="$TMPDIR/device.yaml" MIXTUNE_DEVICE=cuda:0 \
    STATE="$TMPDIR/state-real" PLAN="$TMPDIR/plan" REHEARSE=1 tests/gpu/check.sh rest "$TMPDIR/real" --budget 3000
expect '^failed .* cuBLAS, cuBLASLt and the gate: .*cuBLAS is no baseline \(cuBLAS: cublasCreate gives status 1\)' out
for step in 'take in the modelled times of soft:a100-sxm-80g' 'sweep, up to 2' 'finals, in turns' 'correlate model and measurement'; do
    expect "^ok .* $step" out
done
expect '^all +all +3 +1 ' out
expect '^64x256 +4 w4a8 .* f16 ' out
# Of the runs on this device: the modelled times that were taken in lack nothing.
measured="SELECT DISTINCT missing FROM run JOIN device ON device.id = run.device WHERE NOT software"
[ "$(sqlite3 "$TMPDIR/real/check.db" "$measured")" = cublas,cublaslt ] || verdict="$verdict the run does not say what is missing; "
result "without cuBLAS a step has failed, and the table is there"

# A driver that takes no image at all: what tells why, and then no more.
real_library tests/unit/gpu/fake_cuda.c "$TMPDIR/lib/libcuda.so.1" -DNOTHING_LOADS -Wl,--no-as-needed -L"$BUILD" -lsoftgpu -Wl,-rpath,"$(realpath "$BUILD")"
run 1 env -u CUDA_HOME PATH="$tools" LD_PRELOAD="$clock" LD_LIBRARY_PATH="$TMPDIR/lib" SOFTGPU_DEVICE="$TMPDIR/device.yaml" MIXTUNE_DEVICE=cuda:0 \
    STATE="$TMPDIR/state-none" REHEARSE=1 tests/gpu/check.sh all "$TMPDIR/nothing" --budget 3000
expect '^failed .* load a kernel: .*a kernel loads as fat binary: ' out
for step in 'why: what the loader does' 'why: the bare cubin beside the fat binary' 'why: a verification that says all' "why: a program of nvcc's"; do
    expect "^(ok|failed|skipped) .* $step" out
done
forbid ' s  (verify sm80|probe|sweep|show|export|the rest)' out
expect 'NO_BINARY_FOR_GPU' nothing/gpu-check.log
expect 'find library=libcuda' nothing/gpu-check.log
result "where nothing loads it tells why, and stops"

# ---- what the command line says ----

run 64 tests/gpu/check.sh triage "$TMPDIR/none" --budget soon
expect "takes seconds, not 'soon'" err
result "a budget that is none is refused"
if [ -e /dev/nvidiactl ]; then
    skip "no device" "there is one"
else
    run 69 env MIXTUNE_DEVICE=cuda:0 tests/gpu/check.sh "$TMPDIR/none"
    expect '^mixtune: no CUDA driver' err
    [ "$(cat "$TMPDIR/out" "$TMPDIR/err" | wc -l)" = 1 ] || verdict="$verdict more than one sentence; "
    result "no device is one sentence"
fi
finish
