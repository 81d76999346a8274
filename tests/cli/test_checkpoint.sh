#!/bin/bash
# From a packed checkpoint to served decoder layers: sweep --checkpoint, export, and the example that compares every element.
# shellcheck source=tests/cli/cases.sh
set -u
. tests/cli/cases.sh
. tests/model/python.sh
pack=$BUILD/tests/cli/pack_model

# sweep SPACE FOLDER OPTIONS...: the layers at 1 and 16 tokens into $db.
sweep() { run 0 "$MIXTUNE" sweep --quick --space "$TMPDIR/$1.yaml" --db "$db" --checkpoint "$TMPDIR/$2" --m 1,16 "${@:3}"; }
steps() { sed -nE 's/^model[^ ]+ +[0-9]+ +[0-9]+ +[0-9]+  (.{13}).*/\1/p' "$TMPDIR/out" | sed 's/ *$//' | sort | uniq -c | tr -s ' \n' ' '; }

cat >"$TMPDIR/a100.yaml" <<'YAML'
family: sm80
values:
  tile_n: [32]
  tile_m: [16]
  warps_n: [2]
  stages: [3]
  split_k: [2]
YAML
cat >"$TMPDIR/h100.yaml" <<'YAML'
family: sm90
values:
  tile_m: [16]
  stages: [4]
YAML
run 0 "$pack" "$TMPDIR/p10" p10
run 0 "$pack" "$TMPDIR/symmetric" symmetric
result 'two checkpoints, with zero points and without'

# The whole way: floats, quantised, tuned and served.
floats() { # name, options of quantize
    run 0 "$MIXTUNE" quantize -q --model "$TMPDIR/floats" --out "$TMPDIR/$1" --salience "$TMPDIR/salience" "${@:2}"
}
serve_floats() { # name, space, options of the sweep
    db=$TMPDIR/$1.db
    sweep "$2" "$1" -q "${@:3}"
    run 0 "$MIXTUNE" export -q --db "$db" --out "$TMPDIR/$1.mixtune"
    run 0 "$BUILD/example/serve" "$TMPDIR/$1.mixtune" "$TMPDIR/$1" 16
    [ "$(grep -c ' good ' "$TMPDIR/out")" = 8 ] || verdict+=" $(grep -c ' good ' "$TMPDIR/out") layers are good; "
    expect '[.] 0 wrong' out
}
if [ -z "$PYTHON" ]; then
    skip 'from floats to served layers' 'no python3 with NumPy'
else
    run 0 "$PYTHON" tests/model/tiny.py "$TMPDIR/floats" --bias --salience "$TMPDIR/salience"
    floats zeros --scheme p20
    floats symm --scheme p30-sym --group 64 --fill 16
    MIXTUNE_DEVICE=soft:a100-sxm-80g serve_floats zeros a100
    MIXTUNE_DEVICE=soft:h100-sxm serve_floats symm h100 --dtype bf16 --points 1
    result 'from floats to served layers, on both devices'
fi

export MIXTUNE_DEVICE=soft:a100-sxm-80g
db=$TMPDIR/a100.db
sweep a100 p10
expect '^qkv: 2 of 2 splits are tuned, for all 2 layers .* rows8 33 \(stands for 1\), 80 ' err
expect '^down: 2 of 2 splits' err
expect '^model tiny, tp 1, group_size 128, dtype fp16' out
[ "$(sqlite3 "$db" "SELECT group_concat(layer || rows8 || scheme, ' ') FROM (SELECT DISTINCT layer, rows8, scheme FROM winner ORDER BY 1, 2)")" = \
    'down17mixed down192w8a8 gate_up1mixed gate_up48mixed o0w4a8 o16mixed qkv33mixed qkv80mixed' ] || verdict+=' other splits than those of the checkpoint'
result 'a sweep takes model, layers and splits from the checkpoint'

run 0 "$MIXTUNE" export -q --db "$db" --out "$TMPDIR/bundle"
run 0 "$BUILD/example/serve" "$TMPDIR/bundle" "$TMPDIR/p10" 16
[ "$(steps)" = ' 8 exact ' ] || verdict+=" steps:$(steps)"
expect '[.] 0 wrong' out
expect 'split_k=2' out
run 0 "$BUILD/example/serve" "$TMPDIR/bundle" "$TMPDIR/p10" 5 1
[ "$(steps)" = ' 4 nearest M ' ] || verdict+=" steps:$(steps)"
result 'its bundle serves both decoder layers, and every element is right'

run 0 "$MIXTUNE" export -q --db "$db" --out "$TMPDIR/few" --rows8 33,16,48,17
run 0 "$BUILD/example/serve" "$TMPDIR/few" "$TMPDIR/p10" 16
[ "$(steps)" = ' 4 exact 4 nearest split ' ] || verdict+=" steps:$(steps)"
result 'so does a bundle with one split of each layer'

run 0 "$MIXTUNE" show --db "$db" --regret --checkpoint "$TMPDIR/p10"
expect '^ *qkv ' out
sentence 64 '--checkpoint belongs to --regret' "$MIXTUNE" show --db "$db" --checkpoint "$TMPDIR/p10"
sentence 64 '--group cannot stand beside --checkpoint' "$MIXTUNE" sweep --checkpoint "$TMPDIR/p10" --group 64 --db "$db"
mkdir "$TMPDIR/ranks" "$TMPDIR/ranks/rank-0-of-2" && echo '{}' >"$TMPDIR/ranks/rank-0-of-2/model.safetensors.index.json"
sentence 64 "such as $TMPDIR/ranks/rank-0-of-2" "$MIXTUNE" sweep --checkpoint "$TMPDIR/ranks" --db "$TMPDIR/none.db"
sentence 64 'there is no folder' "$MIXTUNE" sweep --checkpoint "$TMPDIR/nowhere" --db "$TMPDIR/none.db"
[ ! -e "$TMPDIR/none.db" ] || verdict+=' a database of nothing'
result 'the regret of its splits; what cannot stand beside it, and what is none'

export MIXTUNE_DEVICE=soft:h100-sxm
db=$TMPDIR/h100.db
sweep h100 symmetric -q --dtype bf16 --points 1
run 0 "$MIXTUNE" export -q --db "$db" --out "$TMPDIR/symmetric.mixtune"
run 0 "$BUILD/example/serve" "$TMPDIR/symmetric.mixtune" "$TMPDIR/symmetric" 16
[ "$(steps)" = ' 4 exact 4 nearest split ' ] || verdict+=" steps:$(steps)"
expect 'M = 16, bf16' out
result 'on the other device, without zero points and in bf16, half of the splits tuned'

# A program that unpacks otherwise than the kernels do; a file that was changed; a bundle without such layers.
export MIXTUNE_DEVICE=soft:a100-sxm-80g
sed 's/byte & 15/byte \& 14/' runtime/example/serve.c >"$TMPDIR/serve.c"
run 1 cmp -s runtime/example/serve.c "$TMPDIR/serve.c"
run 0 gcc -std=c11 -isystem "${CUDA_HOME:-/usr/local/cuda}/include" -Iruntime -Iruntime/example "$TMPDIR/serve.c" runtime/example/driver.c \
    -o "$TMPDIR/serve" -L "$BUILD" -lmixtune -lm -Wl,-rpath,"$BUILD"
run 2 "$TMPDIR/serve" "$TMPDIR/bundle" "$TMPDIR/p10" 16 1
expect 'model.layers.0.qkv .*WRONG' out
expect 'model.layers.0.down .*good' out # all of its features have 8 bits
result 'a wrong product is found'

run 1 "$BUILD/example/serve" "$TMPDIR/symmetric.mixtune" "$TMPDIR/p10"
expect 'was tuned on H100-SXM' err
printf '\377' | dd of="$TMPDIR/p10/layer-00001.safetensors" bs=1 seek=60000 conv=notrunc status=none
run 1 "$BUILD/example/serve" "$TMPDIR/bundle" "$TMPDIR/p10"
expect 'the bytes of tensor model.layers.1.[a-z_]+.w[48].blocks are not those that were written' err
truncate -s 100000 "$TMPDIR/p10/layer-00001.safetensors"
run 1 "$BUILD/example/serve" "$TMPDIR/bundle" "$TMPDIR/p10"
expect 'is cut short' err
no_results
result 'a bundle of another device, a changed file and a cut one are refused'

finish
