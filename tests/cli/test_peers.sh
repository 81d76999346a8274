#!/bin/bash
# Peers: a T4 file of the form that tests/gpu/peers.py writes, merged into a database of a sweep, shown and drawn; and the parts of
# peers.py that need nothing but Python. Every number here is invented, and so is the GPU.
# shellcheck disable=SC2015,SC2154,SC2317 # A && B || C, verdict of cases.sh, functions called by name
set -u
. tests/cli/cases.sh
db=$TMPDIR/all.db

# T4, as `mixtune show --format t4` and peers.py write it: one run of rows on one device.
stamp=0
row() { # family, config, scheme, group, dtype, m, ns (0: its numbers are wrong)
    local outcome=ok invalidity=correct message='' times='' runtimes='' pair configuration="\"family\":\"$1\"" pairs
    IFS=, read -ra pairs <<<"$2"
    for pair in "${pairs[@]}"; do
        [[ ${pair#*=} =~ ^[0-9]+$ ]] && configuration+=",\"${pair%%=*}\":${pair#*=}" || configuration+=",\"${pair%%=*}\":\"${pair#*=}\""
    done
    if [ "$7" = 0 ]; then
        outcome=wrong invalidity=correctness message='relative error 0.5'
    else
        runtimes=$7 times="{\"name\":\"time\",\"value\":$7},{\"name\":\"time_low\",\"value\":$7},{\"name\":\"time_high\",\"value\":$7},"
    fi
    stamp=$((stamp + 1))
    [ "$stamp" = 1 ] || echo ,
    cat <<JSON
{"timestamp":"$(printf '2026-01-01T00:00:00.%09dZ' "$stamp")","configuration":{$configuration},"times":{"runtimes":[$runtimes]},
"invalidity":"$invalidity","correctness":$(($7 > 0)),"objectives":["time"],"measurements":[$times
{"name":"run","value":0},{"name":"layer","value":0},{"name":"m","value":$6},{"name":"group_size","value":$4},
{"name":"scheme","value":"$3"},{"name":"dtype","value":"$5"},{"name":"origin","value":"measured"},{"name":"cache_state","value":"cold"},
{"name":"outcome","value":"$outcome"},{"name":"message","value":"$message"},{"name":"binary","value":""},
{"name":"registers","value":0},{"name":"smem_bytes","value":0},{"name":"spill_bytes","value":0},{"name":"config","value":"$2"}]}
JSON
}

file() { # NVRTC, templates, model, layer, command that prints the rows
    cat <<JSON
{"schema_version":"1.1.0","metadata":{"compute_api":"CUDA","device":"TEST GPU (invented)","autotuner":"mixtune","autotuner_version":"test",
"timeunit":"nanoseconds","mixtune":{"devices":[{"uuid":"GPU-test","name":"TEST GPU (invented)","cc":90,"sm_count":132,"software":0}],
"environments":[{"driver_version":13000,"nvrtc_version":$1,"template_hash":"$2","cublas_version":"","clocks":""}],
"runs":[{"device":0,"environment":0,"command":"test","started":"2026-01-01T00:00:00.000000000Z"}],
"layers":[{"model":"$3","layer":"$4","n":4096,"k":4096,"tp":1}]}},"results":[
JSON
    stamp=0
    "$5"
    echo ']}'
}

# The eleven batch sizes of the paper's Figure 5. W4A8 takes 1000 + m ns, W8A8 2000 + m, cuBLAS three times as long as W4A8.
batches=(1 2 4 8 16 32 64 128 256 512 1024)
swept() {
    local m
    for m in "${batches[@]}"; do
        row sm80 stages=2,split_k=1 w4a8 128 fp16 "$m" $((1000 + m))
        row sm80 stages=2,split_k=1 w8a8 128 fp16 "$m" $((2000 + m))
        row cublas '' fp16 0 fp16 "$m" $((3 * (1000 + m)))
    done
}

# torch fp16 takes four times as long as W4A8; the Triton W4A8 wins from 512 tokens on; a W8A8 is wrong; bf16 has no winner of its own.
peers() {
    local m
    for m in "${batches[@]}"; do
        row peer:torch-fp16 torch=2.11.0 fp16 0 fp16 "$m" $((4 * (1000 + m)))
        row peer:torch-int4pack torch=2.11.0 w4a16 128 bf16 "$m" $((2 * (1000 + m)))
        row peer:triton-w4a8 triton=3.6.0 w4a8 128 fp16 "$m" $((m < 512 ? 1500 + m : 500))
    done
    row peer:triton-w8a8 triton=3.6.0 w8a8 128 fp16 1 0
}

file 1300 templates tiny o swept >"$TMPDIR/sweep.json"
file 0 '' '' 4096x4096 peers >"$TMPDIR/peers.json"
run 0 "$MIXTUNE" merge --into "$db" "$TMPDIR/sweep.json"
result "the sweep that the peers join"
run 0 "$MIXTUNE" show --db "$db" --format csv -q
cp "$TMPDIR/out" "$TMPDIR/before.csv"

run 0 "$MIXTUNE" merge --into "$db" "$TMPDIR/peers.json"
expect 'added 34 of the 34 measurements' out
result "a file of peers joins a sweep"

run 0 "$MIXTUNE" show --db "$db" --format csv -q
cmp -s "$TMPDIR/before.csv" "$TMPDIR/out" || verdict="$verdict the winners or their baselines changed; "
[ "$(wc -l <"$TMPDIR/out")" = 23 ] || verdict="$verdict not 22 winners; "
forbid peer out
forbid older err
result "winners and baselines stay as they were"

run 0 "$MIXTUNE" show --db "$db" --peers --format csv -q
awk -F, 'NR > 1 { n[$12 " " $7]++; losses += $16 < 1; one = $6 == 1024 && $12 == "triton-w4a8" ? $16 : one
                  four += $12 == "torch-fp16" && $7 == "w4a8" && $16 == 4 }
         END { print n["torch-fp16 w4a8"], n["torch-fp16 w8a8"], n["torch-int4pack w8a8"], n["triton-w4a8 w4a8"], n["triton-w4a8 w8a8"] + 0,
               losses, four, sprintf("%.3f", one), NR - 1 }' "$TMPDIR/out" >"$TMPDIR/counts"
[ "$(cat "$TMPDIR/counts")" = "11 11 11 11 0 2 11 0.247 55" ] || verdict="$verdict counts: $(cat "$TMPDIR/counts"); "
expect 'tiny,1,o,4096,4096,1024,w4a8,0,128,fp16,cold,triton-w4a8,fp16,500.0,2024.0,' out
result "--peers has every peer beside its winners, losses included"

run 0 "$MIXTUNE" show --db "$db" --peers --m 1024 --scheme w4a8
expect 'triton-w4a8 +fp16 +0.50 +2.02 +0.25x' out
[ "$(grep -c . "$TMPDIR/out")" = 5 ] || verdict="$verdict not three rows; "
result "--peers as a table, filtered"

run 0 "$MIXTUNE" show --db "$db" --failed
expect 'family peer:triton-w8a8' out
expect '1 +w8a8 .*wrong .*relative error 0.5' out
result "a peer with wrong numbers is a row that says so"

# The report: a plot, its data, three tables; and none of them without peers.
run 0 "$MIXTUNE" report --db "$db" --out "$TMPDIR/report" -q
plot=$(echo "$TMPDIR"/report/*tiny*-peers.svg)
[ -s "$plot" ] && [ -s "${plot%.svg}.png" ] || verdict="$verdict no plot of peers; "
grep -q 'measured on TEST GPU' "$plot" && ! grep -q modelled "$plot" || verdict="$verdict the plot does not say that its times are measured; "
for word in triton-w4a8 torch-fp16 torch-int4pack; do
    grep -q ">$word<" "$plot" || verdict="$verdict no $word in the plot; "
done
[ "$(tail -n +2 "$TMPDIR"/report/data/*-peers.csv | awk -F, 'NR == 1 { print FILENAME }; { n++ } END { print n }' | tail -n 1)" = 55 ] || verdict="$verdict not 55 points; "
grep -qE '^[0-9]+,[0-9]+,[0-9]+,4096,1024,0.5,2.024,0.247[^a-z]*,o,w4a8,triton-w4a8,' "$TMPDIR"/report/data/*tiny*-peers.csv || verdict="$verdict the plot's data lack a loss; "
page=$TMPDIR/report/index.html
for word in 'Winners over peers in short' '<h2>Peers</h2>' 'Beside Figure 5' '>0.25x<'; do
    grep -q "$word" "$page" || verdict="$verdict no $word on the page; "
done
result "report draws the peers and tabulates them"

[ "$(grep -c . "$TMPDIR/report/data/paper.csv")" = 3 ] || verdict+=" not two rows beside the paper: $(cat "$TMPDIR/report/data/paper.csv"); "
grep -q '^4096,4096,w4a8,0,128,fp16,cold,,3.0,4.0,1.96,0,cublas,measured,TEST GPU (invented),GPU-test,A100-80G$' "$TMPDIR/report/data/paper.csv" ||
    verdict="$verdict $(cat "$TMPDIR/report/data/paper.csv"); "
grep -q '^tiny,1,fp16,128,cold,w4a8,triton-w4a8,11,.*,0.247[0-9]*,2,fp16,' "$TMPDIR/report/data/peer-summary.csv" ||
    verdict="$verdict $(cat "$TMPDIR/report/data/peer-summary.csv"); "
result "the means beside the paper's, and the losses counted"

run 0 "$MIXTUNE" report --db "$db" --out "$TMPDIR/part" -q --m 1:256:x2,1024
[ ! -e "$TMPDIR/part/data/paper.csv" ] || verdict="$verdict a mean over ten of eleven batch sizes; "
run 0 "$MIXTUNE" merge --into "$TMPDIR/alone.db" "$TMPDIR/sweep.json"
run 0 "$MIXTUNE" report --db "$TMPDIR/alone.db" --out "$TMPDIR/alone" -q
[ -z "$(find "$TMPDIR/alone" -name '*peer*')" ] || verdict="$verdict peers out of nothing; "
run 1 "$MIXTUNE" show --db "$TMPDIR/alone.db" --peers
expect 'and no times of peers among them' err
result "without peers there is no plot, no table and a sentence"

# Peers of the very layers that were swept, faster than everything: they are neither exported nor searched among, and no sweep is put off by
# them.
sweep() { run 0 "$MIXTUNE" sweep --device soft:a100-sxm-80g --shape 1,64,128 --shape 9,64,128 --scheme w4a8 --quick --max-configs 3 --db "$1" -q; }
bundle() { sqlite3 "$1" "SELECT m, kind, config, expected_ns FROM entry ORDER BY m, kind"; }
sweep "$TMPDIR/s.db"
run 0 "$MIXTUNE" export --db "$TMPDIR/s.db" --out "$TMPDIR/before.mixtune" -q
run 0 "$MIXTUNE" show --db "$TMPDIR/s.db" --format t4 -q
sqlite3 :memory: "SELECT json_set(j, '\$.results', (SELECT json_group_array(json_set(r.value, '\$.configuration',
    json('{\"family\":\"peer:fast\",\"fast\":\"v1\"}'), '\$.measurements[#-1].value', 'fast=v1', '\$.measurements[0].value', 1.0,
    '\$.measurements[1].value', 1.0, '\$.measurements[2].value', 1.0)) FROM json_each(j, '\$.results') AS r WHERE r.value->>'invalidity' = 'correct'))
    FROM (SELECT readfile('$TMPDIR/out') AS j)" >"$TMPDIR/fast.json"
run 0 "$MIXTUNE" merge --into "$TMPDIR/s.db" "$TMPDIR/fast.json"
[ "$(sqlite3 "$TMPDIR/s.db" "SELECT count(DISTINCT m) FROM peer WHERE ratio < 0.01 AND layer_id IN (SELECT layer_id FROM winner)")" = 2 ] ||
    verdict="$verdict the peers are not beside the winners; "
run 0 "$MIXTUNE" export --db "$TMPDIR/s.db" --out "$TMPDIR/after.mixtune" -q
bundle "$TMPDIR/before.mixtune" >"$TMPDIR/before" && bundle "$TMPDIR/after.mixtune" | diff "$TMPDIR/before" - >"$TMPDIR/err" ||
    verdict="$verdict the bundle changed: $(cat "$TMPDIR/err"); "
[ -s "$TMPDIR/before" ] || verdict="$verdict an empty bundle; "
result "peers are not exported"
run 0 "$MIXTUNE" replay --db "$TMPDIR/s.db" --out "$TMPDIR/replay" -q
result "peers are not searched among"
sweep "$TMPDIR/s.db"
[ "$(sqlite3 "$TMPDIR/s.db" "SELECT count(*) FROM run")" = 2 ] || verdict="$verdict not a second run; "
[ "$(sqlite3 "$TMPDIR/s.db" "SELECT count(DISTINCT run) FROM measurement")" = 1 ] || verdict="$verdict something was measured again; "
result "a sweep goes on beside peers"

# peers.py itself, as far as Python alone carries it.
if ! python3 --version >"$TMPDIR/null" 2>&1; then
    skip "peers.py" "there is no python3"
    finish
fi
export PYTHONDONTWRITEBYTECODE=1
run 0 python3 - <<'PYTHON'
import glob
for path in glob.glob("tests/gpu/*.py"):
    compile(open(path).read(), path, "exec")
PYTHON
result "every file is Python"

run 0 env PYTHONPATH=tests/gpu python3 - <<'PYTHON'
import random
import peer_stats as s
assert s.median([3, 1, 2]) == 2 and s.median([4, 1, 2, 3]) == 2.5
assert s.estimate([7.0]) == (7.0, 7.0, 7.0) and s.half_width([5.0] * 30) == 0
draw = random.Random(7)
inside = {31: 0, 40: 0}
for n in inside:
    for trial in range(1000):
        middle, low, high = s.estimate([draw.gauss(100, 10) for _ in range(n)])
        assert low <= middle <= high
        inside[n] += low <= 100 <= high
    assert 925 <= inside[n] <= 985, inside
# The closed form against drawing, as tuner/measure/stats.c does it.
for n in (31, 32, 101):
    samples = sorted(draw.expovariate(1) for _ in range(n))
    medians = sorted(s.median(draw.choices(samples, k=n)) for _ in range(4000))
    _, low, high = s.estimate(samples)
    near = lambda x, y: abs(sum(v < x for v in samples) - sum(v < y for v in samples)) <= 1
    assert near(low, medians[100]) and near(high, medians[3899]), (n, low, medians[100], high, medians[3899])
PYTHON
result "medians and intervals"

run 0 env PYTHONPATH=tests/gpu python3 - "$TMPDIR" <<'PYTHON'
import sys
import peer_shapes as s
import peer_t4
assert s.numbers("1,16,4096") == [1, 16, 4096] and s.numbers("1:20:x2") == [1, 2, 4, 8, 16] and s.numbers("64:200:64") == [64, 128, 192]
for bad in ("", "0", "x", "1:2", "2:1:x2", "1:8:x1"):
    try:
        s.numbers(bad)
        raise AssertionError(bad)
    except ValueError:
        pass
assert [s.spread(list(range(n))) for n in (1, 2, 3, 4, 7)] == [[0], [0, 1], [0, 2, 1], [0, 3, 1, 2], [0, 6, 3, 1, 4, 2, 5]]
assert sorted(s.spread(list(range(100)))) == list(range(100))
problems = s.problems([s.shape("3,64,128"), s.shape("4096,4096")], "llama-3.1-8b", None, 1, [1, 16], ["configs"])
assert [(p.layer, p.n, p.k, p.m) for p in problems] == [
    ("64x128", 64, 128, 3), ("4096x4096", 4096, 4096, 1), ("4096x4096", 4096, 4096, 16), ("qkv", 6144, 4096, 1), ("qkv", 6144, 4096, 16),
    ("gate_up", 28672, 4096, 1), ("gate_up", 28672, 4096, 16), ("down", 4096, 14336, 1), ("down", 4096, 14336, 16)], problems
assert [(p.n, p.k, p.m) for p in s.small_parts(problems)] == [(64, 128, 3), (128, 512, 1), (128, 512, 16)]
device = {"uuid": "GPU-test", "name": "TEST GPU (invented)", "cc": 90, "sm_count": 132, "software": 0}
file = peer_t4.File(sys.argv[1] + "/py.json", device, 13000, "", "peers.py")
file.add(problems[1], "peer:triton-w4a8", "triton=3.6.0,ways=2", "w4a8", 128, "fp16", "ok", times=([1.5, 2.25, 3.0], (2.25, 1.5, 3.0)),
         resources=(96, 1024, 0))
file.add(problems[1], "peer:humming-w4a8", "", "w4a8", 128, "fp16", "refused", "not \"there\"")
file.write()
file.add(problems[3], "peer:torch-fp16", "torch=2.11.0", "fp16", 0, "fp16", "launch-failed", "RuntimeError: no")
file.write()
PYTHON
run 0 "$MIXTUNE" merge --into "$TMPDIR/py.db" "$TMPDIR/py.json"
expect 'added 3 of the 3 measurements and 1 of the 1 runs' out
sqlite3 "$TMPDIR/py.db" "SELECT family, fact.config, m, scheme, outcome, median_ns, low_ns, high_ns, length(samples), registers, message, name
    FROM fact JOIN (SELECT id, samples FROM measurement) USING (id) LEFT JOIN knob ON knob.config = config_id ORDER BY created" >"$TMPDIR/rows"
diff - "$TMPDIR/rows" >"$TMPDIR/err" <<'ROWS' || verdict="$verdict $(cat "$TMPDIR/err"); "
peer:triton-w4a8|triton=3.6.0,ways=2|1|w4a8|ok|2.25|1.5|3.0|24|96||ways
peer:humming-w4a8||1|w4a8|refused|||||0|not "there"|
peer:torch-fp16|torch=2.11.0|1|fp16|launch-failed|||||0|RuntimeError: no|
ROWS
result "shapes as a sweep reads them; a file that merge reads"

run 64 python3 tests/gpu/peers.py --shape 3
expect 'not M,N,K or N,K' err
run 64 python3 tests/gpu/peers.py --shape 1,64,128 --peers torch-fp16,nobody
expect 'nobody. is not one of torch-fp16, ' err
run 64 python3 tests/gpu/peers.py --shape 1,64,128 --mixtune-env nothing
expect 'nothing. is not NAME=VALUE' err
result "bad usage"

mkdir "$TMPDIR/none" && echo 'raise ImportError("none here")' >"$TMPDIR/none/torch.py"
run 69 env PYTHONPATH="$TMPDIR/none" python3 tests/gpu/peers.py --shape 1,64,128 --out "$TMPDIR/none.json"
expect 'PyTorch cannot be imported: none here' err
[ ! -e "$TMPDIR/none.json" ] || verdict="$verdict a file of nothing; "
result "without PyTorch there is a sentence"

# peers.py with a PyTorch and with peers of our own: what hangs, crashes and breaks, and what becomes of the others.
mkdir "$TMPDIR/gpu" && cp tests/gpu/peer*.py "$TMPDIR/gpu" && cp tests/cli/peers_fake_torch.py "$TMPDIR/gpu/torch.py" &&
    cp tests/cli/peers_fake_kernels.py "$TMPDIR/gpu/peer_kernels.py" && cp tests/cli/peers_fake_time.py "$TMPDIR/gpu/sitecustomize.py" || exit 1
export FAKE_TIME=$TMPDIR/time
# shellcheck disable=SC2054 # a shape holds commas
peers=(env PYTHONPATH="$TMPDIR/gpu" python3 "$TMPDIR/gpu/peers.py" --shape 64,128)
passed() { [ "$(($(wc -c <"$FAKE_TIME") / 10))" -le "$1" ] || verdict+=" $(($(wc -c <"$FAKE_TIME") / 10)) s have passed, more than $1; "; }
cat >>"$TMPDIR/gpu/peer_list.py" <<'PYTHON'
NAMES = "good raises sleeps blocks crashes refuses loses sticks last late slow".split()
PEERS = [Peer(name, f"peer:{name}", "w8a8", "fp16", False) for name in NAMES]
PYTHON
sed -i 's/^GRACE_SECONDS = 3 /GRACE_SECONDS = 1 /' "$TMPDIR/gpu/peers.py"
begin_time() {
    : >"$FAKE_TIME"
    rm -f "$FAKE_TIME.hangs"
}
fake() { # options
    begin_time
    "${peers[@]}" "$@"
}
rows() { # a file of peers -> peer, m, outcome, message, and whether there are samples
    sqlite3 -separator ' ' :memory: "SELECT substr(r.value->'configuration'->>'family', 6), json_extract(v, '\$.m'), json_extract(v, '\$.outcome'),
            json_extract(v, '\$.message'), json_array_length(r.value->'times'->'runtimes') >= 30
        FROM json_each(readfile('$1'), '\$.results') AS r
        JOIN (SELECT p.key, json_group_object(v.value->>'name', v.value->>'value') AS v
              FROM json_each(readfile('$1'), '\$.results') AS p, json_each(p.value->'measurements') AS v GROUP BY p.key) USING (key)
        ORDER BY r.key"
}
cat >"$TMPDIR/mixtune" <<'BASH'
#!/bin/bash
[ "$LD_LIBRARY_PATH" = /toolkit ] || { echo "mixtune: LD_LIBRARY_PATH is $LD_LIBRARY_PATH" >&2; exit 69; }
echo '{"device":{"uuid":"GPU-test","name":"TEST GPU (invented)","compute_capability":90,"sm_count":132,"software":false,"driver_version":13000},"cache":{}}'
BASH
chmod +x "$TMPDIR/mixtune"

run 69 fake --mixtune "$TMPDIR/mixtune" --m 1 --peers good --out "$TMPDIR/no.json"
expect 'mixtune: LD_LIBRARY_PATH is' err
run 0 fake --mixtune "$TMPDIR/mixtune" --m 1 --peers good --out "$TMPDIR/one.json" --mixtune-env LD_LIBRARY_PATH=/toolkit
expect '^peers: torch 2.11.0 built for CUDA 13.0, ' err
expect 'LD_LIBRARY_PATH=$' err
[ "$(rows "$TMPDIR/one.json")" = "good 1 ok  1" ] || verdict="$verdict $(rows "$TMPDIR/one.json"); "
result "mixtune has an environment of its own, and PyTorch has not"

run 0 fake --m 1,16 --limit 1s --peers good,raises,sleeps,blocks,crashes,refuses,loses,sticks,last --out "$TMPDIR/all.json"
rows "$TMPDIR/all.json" >"$TMPDIR/rows"
diff - "$TMPDIR/rows" >"$TMPDIR/differ" <<'ROWS' || verdict="$verdict $(cat "$TMPDIR/differ"); "
raises 1 launch-failed RuntimeError: first line | second line | third 0
sleeps 1 timeout it was not compiled and checked within 1 s 0
blocks 1 timeout no sign of life for 2 s (checking) 0
crashes 1 crash its process was ended by signal 11 (SIGSEGV) (checking) 0
refuses 1 refused fake kernels cannot be imported: none here 0
loses 1 illegal-address RuntimeError: CUDA error: an illegal memory access was encountered 0
sticks 1 timeout no sign of life for 2 s (warming up) 0
good 1 ok  1
last 1 ok  1
raises 16 launch-failed RuntimeError: first line | second line | third 0
sleeps 16 timeout it was not compiled and checked within 1 s 0
good 16 ok  1
last 16 ok  1
ROWS
for pattern in 'raise RuntimeError\("first line' 'sleeps: not ready after 1 s' 'in deaf' 'Fatal Python error: Segmentation fault' \
    'raises cannot be compiled ahead: RuntimeError: first line' 'sleeps was not ready in time at two shapes; going on without it'; do
    expect "$pattern" err
done
run 0 "$MIXTUNE" merge --into "$TMPDIR/fake.db" "$TMPDIR/all.json"
expect 'added 13 of the 13 measurements' out
result "what hangs, crashes, loses the context or breaks is a row, and the others go on"

# In the middle of timing one hangs: what is on disk before, and after ^C, is the first shape, whole. No function: its shell would get the signal.
begin_time
"${peers[@]}" --m 1,16 --peers good,late --limit 9999h --out "$TMPDIR/int.json" >"$TMPDIR/out" 2>"$TMPDIR/err" &
pid=$!
hanging() { grep -q '^late hangs' "$TMPDIR/err" || [ ! -d "/proc/$pid" ]; }
await hanging
[ "$(rows "$TMPDIR/int.json" 2>&1)" = "good 1 ok  1
late 1 ok  1" ] || verdict="$verdict on disk before: $(rows "$TMPDIR/int.json" 2>&1); "
kill -INT "$pid"
ended() { [ ! -d "/proc/$pid" ]; }
await ended
wait "$pid"
code=$?
[ $code = 75 ] || verdict+=" exit code $code, not 75; "
[ "$(rows "$TMPDIR/int.json" | wc -l)" = 2 ] && expect interrupted err || verdict="$verdict $(rows "$TMPDIR/int.json"); "
result "^C ends it at once, a hanging peer or not"

run 0 fake --m 1,16 --peers good,slow --limit 60s --budget 40s --out "$TMPDIR/budget.json"
passed 45 # the batch in hand is not broken off
[ "$(rows "$TMPDIR/budget.json" | grep -c ' ok  1')" = 4 ] || verdict="$verdict $(rows "$TMPDIR/budget.json"); "
run 0 fake --m 1,16 --peers good,late --limit 60s --budget 4s --out "$TMPDIR/budget.json"
passed 7 # twice the second of grace
expect 'peers: the budget is over; 1 of 2 shapes were not measured, or not wholly' err
[ "$(rows "$TMPDIR/budget.json" | grep -c ' ok  1')" = 2 ] || verdict="$verdict $(rows "$TMPDIR/budget.json"); "
result "the budget is kept, a hanging peer or not"
finish
