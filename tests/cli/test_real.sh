#!/bin/bash
# What only real devices get, on the software device under the name of the real driver: the gate, CUDA graphs, the CUDA libraries,
# NVML, hot times and finals. Nothing here is measured; the databases stay in this test's folder.
# shellcheck disable=SC2054,SC2317 # commas inside values, a function called by name
set -u
export MIXTUNE_LOG=info
. tests/cli/cases.sh
# shellcheck source=tests/cli/real.sh
. tests/cli/real.sh
# shellcheck source=tests/cli/workers.sh
. tests/cli/workers.sh
db=$TMPDIR/db

sql() { sqlite3 "$1" "$2"; }
want() { # database, what, query
    local got
    got=$(sql "$1" "$3" | tr '\n' ' ')
    [ "$got" = "$2 " ] || verdict="$verdict '$got' and not '$2'; "
}

real_libraries "$TMPDIR/lib"
real_device "$TMPDIR/device.yaml"
real_space "$TMPDIR/space.yaml"
sweep() { # database, further options
    local base=$1
    shift
    env -u CUDA_HOME LD_PRELOAD="$clock" LD_LIBRARY_PATH="$TMPDIR/lib" SOFTGPU_DEVICE="$TMPDIR/device.yaml" FAKE_LOG="$TMPDIR/calls" FAKE_OPERANDS="$TMPDIR/operands" "$MIXTUNE" sweep \
        --device cuda:0 --quick --space "$TMPDIR/space.yaml" --shape 64,256 --m 4 --db "$base" --json "$@"
}

run 0 sweep "$db" --scheme w4a8,w8a8
forbid '[1-9][0-9]* failed' err
forbid 'is no baseline|could not be timed' err
expect '2 other processes compute on rehearsal' err
want "$db" 'cublas|cublaslt-best|f16' "SELECT group_concat(family, '|') FROM (SELECT DISTINCT family FROM current
    WHERE is_baseline AND family <> 'quantize' AND outcome = 'ok' ORDER BY family)"
want "$db" '1' "SELECT count(DISTINCT missing || rejected) FROM fact WHERE missing = '' AND rejected = 0"
want "$db" '0' "SELECT count(*) FROM current WHERE cache_state = 'serving' AND outcome = 'ok' AND sample_count < 20"
for cache in serving cold hot; do
    want "$db" '1' "SELECT min(family IN (SELECT family FROM fact WHERE cache_state = '$cache' AND outcome = 'ok')) FROM fact"
done
want "$db" 'serving' "SELECT DISTINCT cache_state FROM fact JOIN run ON run.id = fact.run WHERE run.command LIKE 'finals of %'"
[ "$(sql "$db" "SELECT count(DISTINCT family) FROM measurement JOIN run ON run.id = run JOIN config ON config.id = measurement.config
    WHERE command LIKE 'finals of %'")" = 4 ] || verdict="$verdict the libraries are not in the finals; "
want "$db" '1' "SELECT count(DISTINCT json_extract(clocks, '\$.sm_mhz')) FROM environment"
result 'a sweep of a device that is not software: libraries, three states of the caches, finals, no sample lost'

# Serving comes first: many weights, one set of tokens. Then cold: many of both; at last hot: one.
distinct() { cut -d' ' -f"$1" | sort -u | wc -l; } # weights or tokens
[ "$(head -n 20 "$TMPDIR/operands" | distinct 1) $(head -n 20 "$TMPDIR/operands" | distinct 2)" = '3 1' ] ||
    verdict+=" not three sets of weights and one of tokens at first; "
[ "$(distinct 2 <"$TMPDIR/operands")" -gt 1 ] || verdict+=" one set of tokens in all; "
result 'a serving cache: weights rotate, tokens stay'

run 0 "$MIXTUNE" show --db "$db"
expect 'cache_state serving' out
expect 'ratio_with_quantize +floor_share_with_quantize +ratio ' out
for cache in serving cold hot; do
    run 0 "$MIXTUNE" show --db "$db" --cache $cache --json
    [ "$(grep -c "\"cache_state\":\"$cache\".*\"ratio_with_quantize\":[0-9]" "$TMPDIR/out")" = 2 ] || verdict+=" not two winners of $cache caches; "
done
run 0 "$MIXTUNE" show --db "$db" --cache all --json
[ "$(wc -l <"$TMPDIR/out")" = 6 ] || verdict+=" not six winners in all; "
run 0 "$MIXTUNE" show --db "$db" --cache cold --format t4
grep -q '"name":"cache_state","value":"cold"' "$TMPDIR/out" && ! grep -q '"name":"cache_state","value":"serving"' "$TMPDIR/out" ||
    verdict+=" a T4 file of other states than were asked for; "
sentence 64 '--cache|warm|serving, cold, hot, all' "$MIXTUNE" show --db "$db" --cache warm
result 'winners are told in the state serving, and in others when asked'

# As before version 8: what a database knows of cold and hot caches alone, it shows as cold.
sqlite3 "$db" "VACUUM INTO '$TMPDIR/before'"
sqlite3 "$TMPDIR/before" "DELETE FROM measurement WHERE cache_state = 'serving'"
run 0 "$MIXTUNE" show --db "$TMPDIR/before"
expect 'cache_state cold' out
forbid 'serving' out
run 0 "$MIXTUNE" export --db "$TMPDIR/before" --out "$TMPDIR/before.mixtune"
result 'a database without serving caches shows cold ones'

# The shape is one for both schemes, and for the finals of both.
[ "$(grep -c asked "$TMPDIR/calls")" = 1 ] || verdict+=" the heuristics were asked $(grep -c asked "$TMPDIR/calls") times; "
grep -qx 'asked 8' "$TMPDIR/calls" || verdict="$verdict not for 8 algorithms; "
[ "$(tail -n 1 "$TMPDIR/calls")" = 'captured 5' ] || [ "$(tail -n 1 "$TMPDIR/calls")" = 'captured 0' ] || verdict="$verdict another algorithm than the fastest; "
grep -q '[a-z] 8$' <(grep -v asked "$TMPDIR/calls") && verdict="$verdict more than 8 algorithms were tried; "
result 'under --quick eight of cuBLASLt'\''s algorithms are tried, once for a shape'

FAKE_CUBLAS=broken run 0 sweep "$TMPDIR/poor"
[ "$(grep -c 'cuBLAS is no baseline (cuBLAS: cublasCreate gives status 1)' "$TMPDIR/err")" = 1 ] || verdict="$verdict not one warning of cuBLAS; "
[ "$(grep -c 'cuBLASLt is no baseline (cuBLASLt: cublasLtCreate gives status 1)' "$TMPDIR/err")" = 1 ] || verdict="$verdict not one warning of cuBLASLt; "
want "$TMPDIR/poor" 'cublas,cublaslt' 'SELECT DISTINCT missing FROM run'
result 'libraries that are missing are one warning each, and stand in the run'

run 0 "$MIXTUNE" show --db "$TMPDIR/poor"
expect 'In [12] of [12] rows the baseline is not the fastest of all libraries' out
expect 'baseline_lacks cublas,cublaslt' out
run 0 "$MIXTUNE" show --db "$TMPDIR/poor" --all
expect 'missing cublas,cublaslt' out
run 0 "$MIXTUNE" merge --into "$TMPDIR/merged" "$TMPDIR/poor"
run 0 "$MIXTUNE" show --db "$TMPDIR/merged" --json
expect '"baseline_lacks":"cublas,cublaslt".*"missing":"cublas,cublaslt"' out
run 0 "$MIXTUNE" show --db "$db"
forbid 'baseline_lacks|missing|rejected|low_clock' out
result 'show says which libraries a baseline lacks, also of a merged database'

# A kernel of cuBLAS is loaded at its first launch, after a synchronisation.
grep -q 'launched 0' "$TMPDIR/calls" || verdict+=" cuBLAS was not launched; "
grep waited "$TMPDIR/calls" && verdict="$verdict a library was loaded behind the gate; "
result 'the first launch of a library is not behind the gate'

# By itself a GEMM of cuBLAS is too long for a graph; the others of its finals are not.
grep -q 'captured 0' "$TMPDIR/calls" || verdict+='cuBLAS is timed in another form than the others; '
want "$db" '1' "SELECT count(*) FROM current WHERE family = 'cublas' AND cache_state = 'serving' AND median_ns > 20000"
result 'finals have one form: a graph where anyone is short'

# Where fp16 is faster the example of a server runs it on cuBLAS: here cuBLAS takes half the time of the kernels.
sqlite3 "$db" "VACUUM INTO '$TMPDIR/half'"
sqlite3 "$TMPDIR/half" "UPDATE measurement SET median_ns = x.ns, low_ns = x.ns, high_ns = x.ns FROM (SELECT id AS it, family, 0.5 * (SELECT min(median_ns) FROM winner) AS ns
    FROM current WHERE is_baseline AND outcome = 'ok' AND family <> 'quantize') AS x WHERE id = it AND family = 'cublas'"
run 0 "$MIXTUNE" export -q --db "$TMPDIR/half" --out "$TMPDIR/half.mixtune"
expect '^compared with the faster of cuBLAS and cuBLASLt, quantising counted: slower at 2 of 2 \(layer, M\), at worst 0\.[0-4][0-9]x at ' out
want "$TMPDIR/half.mixtune" 'cublas' "SELECT DISTINCT family FROM entry WHERE kind = 'fp16'"
serve() { # options and arguments of the example
    env -u CUDA_HOME -u MIXTUNE_DEVICE LD_LIBRARY_PATH="$TMPDIR/lib" SOFTGPU_DEVICE="$TMPDIR/device.yaml" FAKE_LOG="$TMPDIR/served" "$BUILD/example/dispatch" "$@"
}
run 0 serve "$TMPDIR/half.mixtune" 64x256 4 0
forbid 'fp16' out
[ ! -e "$TMPDIR/served" ] || verdict+=' cuBLAS ran where nobody allowed it; '
run 0 serve --fp16 "$TMPDIR/half.mixtune" 64x256 4 0
expect '^64x256 at M = 4 in fp16: Y differs from the product before quantisation by 0.0[0-9] % \(limit 1 %\): good' out
[ "$(xargs <"$TMPDIR/served")" = 'launched 0 captured 0' ] || verdict+=" cuBLAS was called so: $(xargs <"$TMPDIR/served"); "
FAKE_CUBLAS=wrong run 2 serve --fp16 "$TMPDIR/half.mixtune" 64x256 4 0
expect ' in fp16: .*: WRONG' out
FAKE_CUBLAS=broken run 1 serve --fp16 "$TMPDIR/half.mixtune" 64x256 4 0
expect 'opening cuBLAS: cuBLAS status 1' err
result 'a server that allows it runs cuBLAS where that is faster'

# A library is proved at each shape before it is timed: here cuBLAS writes nothing, and the fastest algorithm of cuBLASLt twice the product.
FAKE_CUBLAS=wrong run 0 sweep "$TMPDIR/wrong" --scheme w4a8 --finals 0
want "$TMPDIR/wrong" 'it does not write Y[0, 0]' "SELECT message FROM current WHERE family = 'cublas'"
want "$TMPDIR/wrong" 'cublas:wrong cublaslt-best:ok' "SELECT DISTINCT family || ':' || outcome FROM current WHERE family LIKE 'cublas%' ORDER BY 1"
want "$TMPDIR/wrong" '0' "SELECT count(*) FROM headline WHERE baseline_family = 'cublas'"
[ "$(sed -n '/captured/h; $ {x; p}' "$TMPDIR/calls")" != 'captured 5' ] || verdict+=' the wrong algorithm was chosen; '
result 'a library that is wrong is no baseline, and a wrong algorithm is out of the race'

# Kernels of one power limit and baselines of another: their ratios are marked, until finals measure both, and the quantisation, in one run.
differ() { want "$TMPDIR/watts" "$1" "SELECT sum(states_differ) FROM headline WHERE is_headline"; }
FAKE_WATTS=700 run 0 sweep "$TMPDIR/watts" --finals 0 --scheme w4a8,w8a8
differ 0
sqlite3 "$TMPDIR/watts" "DELETE FROM measurement WHERE scheme = 'fp16' AND config IN (SELECT id FROM config WHERE family <> 'quantize')"
FAKE_WATTS=400 run 0 sweep "$TMPDIR/watts" --finals 0 --scheme w4a8,w8a8
differ 2
run 0 "$MIXTUNE" show --db "$TMPDIR/watts"
expect '[0-9]x\* .*[0-9]x\* ' out
expect '^\* 2 of 2 rows: the two sides of the ratio were measured in different states of the device' out
FAKE_WATTS=400 run 0 sweep "$TMPDIR/watts" --scheme w4a8,w8a8
differ 0
run 0 "$MIXTUNE" show --db "$TMPDIR/watts"
forbid '[0-9]x\*|different states' out
result 'a ratio of two power limits is marked, and measured again by finals'

# What is too slow to be timed in full is probed with cold caches too, for time models are held against cold times.
cp -R templates "$TMPDIR/lazy"
sed -i 's/^    const mt_gemm_part &part8 = .*/    for (int i = 0; STAGES == 4 \&\& i < 20000; i++)\n        asm volatile("");\n&/' "$TMPDIR/lazy/gemm_sm80.cu"
cmp -s templates/gemm_sm80.cu "$TMPDIR/lazy/gemm_sm80.cu" && verdict+=' gemm_sm80.cu was not changed; '
MIXTUNE_TEMPLATES="$TMPDIR/lazy" run 0 sweep "$TMPDIR/lazy.db" --scheme w4a8 --finals 0
want "$TMPDIR/lazy.db" '1' "SELECT count(*) > 0 FROM fact WHERE family = 'sm80' AND cache_state = 'serving' AND sample_count < 20"
want "$TMPDIR/lazy.db" '0' "SELECT count(*) FROM fact AS x WHERE cache_state = 'serving' AND outcome = 'ok' AND NOT EXISTS
    (SELECT 1 FROM fact AS y WHERE y.config_id = x.config_id AND y.m = x.m AND y.scheme = x.scheme AND y.cache_state = 'cold')"
result 'what is only probed has a cold time too'

# Stamps of a clock at half its speed.
mkdir "$TMPDIR/slow" "$TMPDIR/none"
sed 's/static_cast<unsigned long long>(clock64())/globaltimer() * 705 \/ 1000/
    s/out\[here \* 2 + 1\] = globaltimer()/out[here * 2 + 1] = out[here * 2] * 1000 \/ 705/' templates/gate.cu >"$TMPDIR/slow/gate.cu"
MIXTUNE_TEMPLATES="$TMPDIR/slow" run 0 sweep "$TMPDIR/throttled"
expect '[0-9]+ candidates could not be timed .*: the SM clock was down to 50 % of the highest; [1-9][0-9]* samples were thrown away' err
want "$TMPDIR/throttled" '1' "SELECT min(low_clock BETWEEN 0.49 AND 0.51) FROM fact WHERE outcome = 'ok'"
want "$TMPDIR/throttled" '1' "SELECT count(*) FROM measurement WHERE rejected > 0" # it is waited for once
run 0 "$MIXTUNE" show --db "$TMPDIR/throttled"
expect 'On the way to [12] rows the SM clock was too low' out
expect ' 0.5 ' out
run 0 "$MIXTUNE" show --db "$TMPDIR/throttled" --all
expect 'Of 1 rows [0-9]+ samples were thrown away' out
result 'samples at a low clock are told by the sweep and by show, those of finals too'

echo '#error no gate' >"$TMPDIR/none/gate.cu"
MIXTUNE_TEMPLATES="$TMPDIR/none" run 0 sweep "$TMPDIR/gateless"
[ "$(grep -c 'a low clock is not noticed (.*no gate' "$TMPDIR/err")" = 1 ] || verdict="$verdict not one warning of the gate; "
want "$TMPDIR/gateless" 'gate' 'SELECT DISTINCT missing FROM run'
run 0 "$MIXTUNE" show --db "$TMPDIR/gateless"
expect 'rows were measured without the gate' out
result 'a gate that is missing is a warning, and stands in the run'

finish
