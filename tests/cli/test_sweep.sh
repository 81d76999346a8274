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
# has 2 configurations for each token count, and so often the activations are quantised.
total=$((2 * (5 + 3) + 2 * 2 + 2))

run 0 sweep "$db" "${work[@]}"
expect "$total candidates to measure, 0 measured before" err
forbid '[1-9][0-9]* failed' err
expect MODELLED out
[ "$(grep -cE '200x300 +(1|17) w[48]a8' "$TMPDIR/out")" = 4 ] || verdict="$verdict not 4 winners"
expect ' f16 .* sm80 tile_n=' out
result 'a small sweep finds a winner for every problem'

run 0 sweep "$db" "${work[@]}" --json
expect "0 candidates to measure, $total measured before" err
[ "$(grep -c '"origin":"modelled"' "$TMPDIR/out")" = 4 ] || verdict="$verdict not 4 lines of JSON"
expect '"baseline_family":"f16"' out
cp "$TMPDIR/out" "$TMPDIR/winners"
result 'a second run measures nothing and has the same winners at hand'

run 0 sweep "$db" "${work[@]}" --shape 64,128
expect "$((2 * (3 + 2) + 4 + 2)) candidates to measure, $total measured before" err # one K step cannot be split
result 'a wider workload measures only what is new'

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
expect "$((2 * 2 * 2 + 4 + 2)) candidates to measure" err
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

run 0 broken tile/epilogue.cuh 's/acc\[i\]\[j\]\[r\] + b/acc[i][j][r] * 1.01f + b/'
expect '14 of 14 .*12 failed' err
expect 'wrong: [0-9]+ of [0-9]+ elements are wrong' err
forbid 'x300 ' out
result 'kernels that compute wrong numbers are rows, and none wins'

# Quantised activations are of 4 and of 8 bits' problems alike: one row for each number of tokens. The GEMMs are not proved with them.
run 0 broken quantize_act.cu 's/__float2int_rn(divisor/-__float2int_rn(divisor/'
expect '14 of 14 .* 2 failed' err
expect 'wrong: code [0-9]+ differs from the host.s quantisation' err
[ "$(sqlite3 "$TMPDIR/broken-db" "SELECT m, samples IS NULL FROM measurement JOIN config ON config.id = measurement.config
    WHERE family = 'quantize' AND outcome = 'wrong' AND binary <> '' ORDER BY m" | tr '\n' ' ')" = '1|1 17|1 ' ] || verdict="$verdict no rows of it; "
result 'a quantisation of wrong codes is two rows without times'

run 0 broken gemm_sm80.cu '$a #error "broken on purpose"'
expect '14 of 14 .* 8 failed' err
expect 'compile-failed: .*broken on purpose' err
result 'kernels that do not compile are rows'

run 0 broken tile/quant_tile.cuh 's/args\.x_scales, args\.m/args.x_scales + (1 << 28), args.m/'
expect '14 of 14 .* 8 failed' err
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
expect '3 configurations without split-K compared bit for bit' out
result 'verify: every configuration of a space'

run 0 "$MIXTUNE" bench --quick --device soft:a100-sxm-80g --shape 17,200,300 --config tile_m=16,stages=3
expect ' MODELLED ' out
expect 'fp16 .* f16 tile_n=' out
expect 'w4a8 .* sm80 tile_n=' out
result 'bench: a configuration beside the baseline'

run 0 "$MIXTUNE" info --device soft:a100-sxm-80g
expect 'split_k .*set at launch' out
expect 'models .*llama-3.1-8b' out
result 'info'

# A search and a sample each measure so many of each problem; what other kernels measured is not known of these.
mkdir "$TMPDIR/kernels"
{ cat templates/gemm_sm80.cu && echo "// changed"; } >"$TMPDIR/kernels/gemm_sm80.cu"
configs() { # database
    sqlite3 "$1" "SELECT count(*) FROM current WHERE NOT is_baseline GROUP BY m, scheme" | tr '\n' ' '
}
for strategy in guided sample; do
    base=$TMPDIR/$strategy
    run 0 sweep "$base" "${work[@]}" --strategy $strategy --max-configs 2
    [ "$(configs "$base")" = '2 2 2 2 ' ] || verdict="$verdict not two of each: $(configs "$base"); "
    MIXTUNE_TEMPLATES=$TMPDIR/kernels run 0 sweep "$base" "${work[@]}" --strategy $strategy --max-configs 2
    [ "$(configs "$base")" = '2 2 2 2 ' ] || verdict="$verdict not two of each with other kernels: $(configs "$base"); "
    run 0 sweep "$base" "${work[@]}" --strategy $strategy --max-configs 2
    [ "$(sqlite3 "$base" 'SELECT count(*) FROM measurement JOIN config ON config.id = measurement.config WHERE family = '"'sm80'")" = 16 ] ||
        verdict="$verdict what was known before the change was measured again; "
    result "$strategy: two candidates of each problem, again with other kernels, and no more with the first"
done
finish
