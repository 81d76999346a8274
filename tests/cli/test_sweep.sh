#!/bin/bash
# A sweep as people use it: it measures, resumes, stops when told to, and bad kernels are rows and not errors.
# shellcheck disable=SC2016,SC2054,SC2317 # sed scripts, commas inside values, functions called by name
set -u
export MIXTUNE_LOG=info
. tests/cli/cases.sh
. tests/cli/workers.sh
db=$TMPDIR/db

cat >"$TMPDIR/small.yaml" <<'YAML'
family: sm80
values:
  tile_n: [64]
  tile_m: [8, 16]
  stages: [3]
  split_k: [1, 2]
YAML
sweep() { # database, further options
    local base=$1
    shift
    "$MIXTUNE" sweep --device soft:a100-sxm-80g --quick --space "$TMPDIR/small.yaml" --db "$base" "$@"
}
work=(--shape 200,300 --m '1,17' --scheme 'w4a8,w8a8')
# Two schemes: 4 configurations and the default for 17 tokens; for one token, whom the smaller tile holds, 2 and the default. The baseline
# has two feature tiles, one token tile for one token and three for 17, which two rows of warps may share (but one of 8 tokens), and each in
# 1, 2 and 4 parts of its 5 steps along K; and for each token count the activations are quantised.
baselines=$((2 * 3 * (1 + 1 + 2 * 2)))
total=$((2 * (5 + 3) + baselines + 2))

run 0 sweep "$db" "${work[@]}"
expect "$total candidates to measure, 0 measured before" err
forbid '[1-9][0-9]* failed' err
expect MODELLED out
[ "$(grep -cE '200x300 +200 +300 +(1|17) +w[48]a8' "$TMPDIR/out")" = 4 ] || verdict="$verdict not 4 winners"
expect 'family sm80' out
expect '  f16 .*  modelled  tile_n=' out
result 'a small sweep finds a winner for every problem'

run 0 sweep "$db" "${work[@]}" --json
expect "0 candidates to measure, $total measured before" err
[ "$(grep -c '"origin":"modelled"' "$TMPDIR/out")" = 4 ] || verdict="$verdict not 4 lines of JSON"
expect '"baseline_family":"f16"' out
cp "$TMPDIR/out" "$TMPDIR/winners"
result 'a second run measures nothing and has the same winners at hand'

# A driver that was tried and taken back: one row of it, copied and made newer.
cp "$db" "$TMPDIR/tried"
sqlite3 "$TMPDIR/tried" "INSERT INTO environment SELECT 1, driver_version + 1, nvrtc_version, template_hash, cublas_version, clocks, time_model
    FROM environment LIMIT 1; INSERT INTO run (id, device, environment, command, started) SELECT 2, device, 1, 'other', (SELECT max(started) + 1 FROM run) FROM run LIMIT 1;
    CREATE TEMP TABLE x AS SELECT * FROM measurement WHERE outcome = 'ok' AND scheme = 'w4a8' LIMIT 1;
    UPDATE x SET id = 3, run = 2, created = (SELECT max(created) + 1 FROM measurement); INSERT INTO measurement SELECT * FROM x"
run 0 "$MIXTUNE" show --db "$TMPDIR/tried" --json
[ "$(wc -l <"$TMPDIR/out")" = 1 ] || verdict+=" not the one winner of the other driver; "
# What fails early changes nothing.
run 69 sweep "$TMPDIR/tried" "${work[@]}" --device soft:nope
run 75 sweep "$TMPDIR/tried" --shape 200,304 --m 1 --scheme w4a8 --time-limit 0.001s
run 0 "$MIXTUNE" show --db "$TMPDIR/tried" --json
[ "$(wc -l <"$TMPDIR/out")" = 1 ] || verdict+=" what did not measure changed what is shown; "
run 0 sweep "$TMPDIR/tried" "${work[@]}" --json
expect "0 candidates to measure, $total measured before" err
diff "$TMPDIR/winners" "$TMPDIR/out" >>"$TMPDIR/err" || verdict+=" other winners than before; "
run 0 "$MIXTUNE" show --db "$TMPDIR/tried" --json
diff "$TMPDIR/winners" "$TMPDIR/out" >>"$TMPDIR/err" || verdict+=" show does not follow the sweep; "
result 'what a sweep finds measured is what is shown, after another driver was tried and taken back'

# One winner, printed by three commands: the names are those of the views, and the values are equal.
columns() { sqlite3 "$db" "SELECT name FROM pragma_table_info('$1')"; } # view
run 0 "$MIXTUNE" show --db "$db" --json
diff "$TMPDIR/winners" "$TMPDIR/out" >>"$TMPDIR/err" || verdict="$verdict show prints other winners than sweep; "
config=$(sed -n 's/.*"m":17,"scheme":"w4a8".*"config":"\([^"]*\)".*/\1/p' "$TMPDIR/winners")
[ -z "$verdict" ] && run 0 "$MIXTUNE" bench --quick --json --device soft:a100-sxm-80g --shape 17,200,300 --config "$config"
python3 - "$TMPDIR/winners" "$TMPDIR/out" "$(columns speedup)" >>"$TMPDIR/err" <<'PY' || verdict="$verdict the rows differ; "
import json, sys

winner = next(r for r in map(json.loads, open(sys.argv[1])) if r["m"] == 17 and r["scheme"] == "w4a8")
rows = [json.loads(line) for line in open(sys.argv[2])]
row = next(r for r in rows if r["config"] == winner["config"] and r["family"] == winner["family"])
view = set(sys.argv[3].split()) | {"floor_share", "floor_share_with_quantize"}
wrong = [f"{name} is no column of the view" for name in winner if name not in view]
wrong += [f"bench's {name} is no column of the view" for name in row if name not in view | {"gb_per_s"}]
both = ("model tp layer n k m scheme group_size dtype cache_state median_ns low_ns high_ns baseline_family baseline_ns ratio baseline_lacks"
        " quantize_ns ratio_with_quantize time_model"
        " missing rejected low_clock origin device_name uuid family config template_hash").split()
wrong += [f"{name}: {winner.get(name, 'missing')} and {row.get(name, 'missing')}" for name in both
          if name not in winner or name not in row or winner[name] != row[name]]
print("\n".join(wrong))
sys.exit(len(wrong) > 0 or winner["median_ns"] <= 0 or winner["baseline_ns"] <= 0)
PY
result 'sweep, show and bench print a winner in the same words'

run 0 "$MIXTUNE" show --db "$db"
cp "$TMPDIR/out" "$TMPDIR/table"
run 0 sweep "$db" "${work[@]}"
diff "$TMPDIR/table" "$TMPDIR/out" >>"$TMPDIR/err" || verdict="$verdict another table; "
[ "$(head -n 1 "$TMPDIR/out" | grep -c '^MODELLED: ')" = 1 ] || verdict="$verdict no heading; "
us=$(sed -n 's/.*"m":17,"scheme":"w4a8".*"median_ns":\([0-9.]*\),.*"quantize_ns":\([0-9.]*\),.*"baseline_ns":\([0-9.]*\),.*/\1 \2 \3/p' \
    "$TMPDIR/winners" | awk '{ printf "%.2f +%.2f +f16 +%.2f +%.2fx +- +%.2fx", $1 / 1000, $2 / 1000, $3 / 1000, $3 / ($1 + $2), $3 / $1 }')
expect "^200x300 +200 +300 +17 +w4a8 +0 +$us " out
result 'the table of sweep is that of show, in microseconds'

run 0 sweep "$db" "${work[@]}" --shape 64,128
expect "$((2 * (3 + 2) + 2 * 2 * (1 + 1 + 2 * 2) + 2)) candidates to measure, $total measured before" err # one K step of 128 cannot be split
result 'a wider workload measures only what is new'

run 0 sweep "$db" "${work[@]}" --json
diff "$TMPDIR/winners" "$TMPDIR/out" >>"$TMPDIR/err" || verdict="$verdict winners that were not asked for; "
run 0 "$MIXTUNE" sweep --device soft:l40s --quick --space "$TMPDIR/small.yaml" --db "$db" --shape 1,200,300 --scheme w4a8 --max-configs 1 --json
[ "$(wc -l <"$TMPDIR/out")" = 1 ] && expect '"device_name":"L40S' out || verdict="$verdict winners of another device; "
result 'a sweep prints the winners of its workload and device'

run 75 sweep "$TMPDIR/limited" "${work[@]}" --time-limit 0.001s
expect 'stopped at the time limit after compiling [0-9]+ of [0-9]+ kernels; the same command goes on from there' err
run 0 sweep "$TMPDIR/limited" "${work[@]}" --json
cmp -s "$TMPDIR/out" "$TMPDIR/winners" || verdict="$verdict other winners"
result 'a sweep stopped at its time limit goes on, to the same winners'

# Many more candidates of the same kernels than a second is enough for, of the processor's time.
many=("${work[@]}")
for n in {4096..6144..64}; do
    many+=(--shape "$n,8192")
done
LD_PRELOAD=$clock run 75 sweep "$TMPDIR/limited" "${many[@]}" --time-limit 1s
expect '^mixtune: stopped at the time limit after [1-9][0-9]* of [0-9]+ candidates; the same command goes on from there$' err
after=$(sed -n 's/.* after \([0-9]*\) of .*/\1/p' "$TMPDIR/err")
[ "$(sqlite3 "$TMPDIR/limited" 'SELECT count(*) FROM measurement')" = $((total + after)) ] || verdict+=" not as many rows as it says; "
result 'one stopped while it measures keeps what it has'

# ^C while it compiles or measures, with so much to do that it cannot be through. No function: its shell would get the signal.
"$MIXTUNE" sweep --device soft:a100-sxm-80g --quick --space "$TMPDIR/small.yaml" --db "$TMPDIR/broken_off" "${work[@]}" --shape 8192,8192 \
    --m 1:4096:x2 >"$TMPDIR/out" 2>"$TMPDIR/err" &
pid=$!
begun() { [ -s "$TMPDIR/broken_off" ] || [ ! -d "/proc/$pid" ]; }
await begun
kill -INT $pid
wait $pid
code=$?
[ "$code" = 75 ] || verdict+=" exit code $code; "
expect 'same command goes on' err
run 0 sweep "$TMPDIR/broken_off" "${work[@]}" --json
cmp -s "$TMPDIR/out" "$TMPDIR/winners" || verdict="$verdict other winners"
result 'an interrupted sweep goes on, to the same winners'

run 0 sweep "$TMPDIR/few" "${work[@]}" --max-configs 2
expect "$((2 * 2 * 2 + baselines + 2)) candidates to measure" err
result '--max-configs thins the space'

run 0 sweep "$TMPDIR/quiet" "${work[@]}" --max-configs 1 --quiet
[ -s "$TMPDIR/err" ] && verdict="$verdict words on standard error"
result '--quiet is quiet'

# Kernels that are wrong, and kernels that do not compile.

broken() { # file, sed script: sweeps with templates that are changed so
    rm -rf "$TMPDIR/broken"
    cp -R templates "$TMPDIR/broken"
    sed -i "$2" "$TMPDIR/broken/$1"
    cmp -s "templates/$1" "$TMPDIR/broken/$1" && verdict="$verdict $1 was not changed; "
    MIXTUNE_TEMPLATES=$TMPDIR/broken MIXTUNE_LOG=debug sweep "$TMPDIR/broken-db" "${work[@]}" --max-configs 2
}

run 1 broken tile/epilogue.cuh 's/acc\[i\]\[j\]\[r\] + b/acc[i][j][r] * 1.01f + b/'
expect '46 of 46 .*44 failed' err
expect 'wrong: [0-9]+ of [0-9]+ elements are wrong' err
forbid 'x300 ' out
result 'kernels that compute wrong numbers are rows, and none wins'

# Quantised activations are of 4 and of 8 bits' problems alike: one row for each number of tokens. The GEMMs are not proved with them.
run 0 broken quantize_act.cu 's/__float2int_rn(divisor/-__float2int_rn(divisor/'
expect '46 of 46 .* 2 failed' err
expect 'wrong: code [0-9]+ differs from the host.s quantisation' err
[ "$(sqlite3 "$TMPDIR/broken-db" "SELECT m, samples IS NULL FROM measurement JOIN config ON config.id = measurement.config
    WHERE family = 'quantize' AND outcome = 'wrong' AND binary <> '' ORDER BY m" | tr '\n' ' ')" = '1|1 17|1 ' ] || verdict="$verdict no rows of it; "
result 'a quantisation of wrong codes is two rows without times'

run 1 broken gemm_sm80.cu '$a #error "broken on purpose"'
expect '46 of 46 .* 8 failed' err
expect 'compile-failed: .*broken on purpose' err
result 'kernels that do not compile are rows'

run 1 broken tile/quant_tile.cuh 's/args\.x_scales, args\.m/args.x_scales + (1 << 28), args.m/'
expect '46 of 46 .* 8 failed' err
expect 'illegal-address' err
result 'kernels that read out of bounds are rows, and the device comes back for the others'

MIXTUNE_TEMPLATES=$TMPDIR/broken run 1 "$MIXTUNE" verify --device soft:a100-sxm-80g --shape 17,200,300
expect '^1 right, 0 wrong, 0 refused, 1 failed' out
result 'verify: a fault is a failure'
sed -i 's/args\.x_scales + (1 << 28), args\.m/args.x_scales, args.m/' "$TMPDIR/broken/tile/quant_tile.cuh"
sed -i 's/acc\[i\]\[j\]\[r\] + b/acc[i][j][r] * 1.01f + b/' "$TMPDIR/broken/tile/epilogue.cuh"
MIXTUNE_TEMPLATES=$TMPDIR/broken run 2 "$MIXTUNE" verify --device soft:a100-sxm-80g --shape 17,200,300
expect '^1 right, 1 wrong, 0 refused' out
result 'verify: a wrong result is exit code 2'

run 0 "$MIXTUNE" verify --device soft:a100-sxm-80g --shape 17,200,300 --space "$TMPDIR/small.yaml" --dtype bf16 --bias
expect '^6 right, 0 wrong, 0 refused' out
expect '3 configurations that add up in order compared bit for bit' out
result 'verify: every configuration of a space'

run 0 "$MIXTUNE" bench --quick --device soft:a100-sxm-80g --shape 17,200,300 --config tile_m=16,stages=3
expect '^MODELLED: ' out
expect 'fp16 .* f16 +tile_n=' out
expect 'w4a8 .* sm80 +tile_n=' out
# 17 tokens of 300 fp16 in; of 384 codes, and of a scale and a sum for each of 3 groups out.
run 0 "$MIXTUNE" bench --quick --json --device soft:a100-sxm-80g --shape 17,200,300
[ "$(python3 -c 'import json, sys
row = next(r for r in map(json.loads, sys.stdin) if r["family"] == "quantize")
print(round(row["gb_per_s"] * row["median_ns"] / (17 * (300 * 2 + 384 + 3 * 8)), 1), row["ratio"])' <"$TMPDIR/out")" = '1.0 None' ] ||
    verdict="$verdict not the bytes of a quantisation: $(grep quantize "$TMPDIR/out"); "
result 'bench: a configuration beside the baseline, and the bytes of each'

# A sweep leaves out tiles that only lose time, and a configuration that was measured; whoever names one wants its time.
run 0 "$MIXTUNE" bench --quick --json --device soft:a100-sxm-80g --shape 1,64,128 \
    --config tile_m=8,warps_m=1 --config tile_m=64 --config tile_m=8,warps_m=1
for tile in 8 64; do
    [ "$(grep '"w4a8"' "$TMPDIR/out" | grep -c "tile_m=$tile,")" = $((1 + (tile == 8))) ] ||
        verdict+=" tile_m=$tile was not timed as often as told; "
done
result 'bench times every configuration that it is told to'

# They know no scheme, so they never win one.
run 0 "$MIXTUNE" bench --quick --json --device soft:a100-sxm-80g --shape 1,64,128 --scheme w4a8,w8a8 --family f16 --config tile_m=64
[ "$(grep '"scheme":"fp16"' "$TMPDIR/out" | grep -c 'tile_m=64,')" = 1 ] || verdict+=" not one line of the kernel that was told; "
forbid 'w[48]a8' out
result 'kernels of baselines are baselines, whoever names them'

run 0 "$MIXTUNE" info --device soft:a100-sxm-80g
expect 'split_k .*set at launch' out
expect 'models .*llama-3.1-8b' out
expect '^ +time model [0-9a-f]{16}$' out
result 'info'

# A search and a sample each measure so many of each problem; what other kernels measured is not known of these.
mkdir "$TMPDIR/kernels"
{ cat templates/gemm_sm80.cu && echo "// changed"; } >"$TMPDIR/kernels/gemm_sm80.cu"
configs() { # database
    sqlite3 "$1" "SELECT count(*) FROM current WHERE NOT is_baseline GROUP BY m, scheme" | tr '\n' ' '
}
# Two of each of four problems, and winners that were measured at the M beside theirs, as the sweep says.
two_of_each() { # database
    beside=$(sed -nE 's/^([0-9]+) winners were measured at the M and splits beside them too$/\1/p' "$TMPDIR/err")
    added=$((added + 8 + ${beside:-0}))
    [ $(($(configs "$1" | tr ' ' '+')0)) = $((8 + ${beside:-0})) ] && ! grep -q '[01] ' <<<"$(configs "$1")"
}
for strategy in guided sample; do
    base=$TMPDIR/$strategy added=0
    run 0 sweep "$base" "${work[@]}" --strategy $strategy --max-configs 2
    two_of_each "$base" || verdict="$verdict not two of each: $(configs "$base"); "
    MIXTUNE_TEMPLATES=$TMPDIR/kernels run 0 sweep "$base" "${work[@]}" --strategy $strategy --max-configs 2
    two_of_each "$base" || verdict="$verdict not two of each with other kernels: $(configs "$base"); "
    run 0 sweep "$base" "${work[@]}" --strategy $strategy --max-configs 2
    [ "$(sqlite3 "$base" 'SELECT count(*) FROM measurement JOIN config ON config.id = measurement.config WHERE family = '"'sm80'")" = $added ] ||
        verdict="$verdict what was known before the change was measured again; "
    result "$strategy: two candidates of each problem, again with other kernels, and no more with the first"
done
finish
