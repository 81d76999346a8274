#!/bin/bash
# Checkpoints packed by `mixtune quantize`, compared bit for bit with tests/model/check_packed.py; runs that are killed; what it refuses.
# shellcheck disable=SC2016,SC2054,SC2317 # scripts in quotes, commas, a function called by name
set -u
. tests/cli/cases.sh
. tests/model/python.sh
work=$TMPDIR
if [ -z "$PYTHON" ]; then
    skip 'packed checkpoints' 'no python3 with NumPy'
    finish
fi

tiny() { "$PYTHON" tests/model/tiny.py "$work/$1" --salience "$work/$1.sal" "${@:2}" || verdict+=" no checkpoint $1; "; } # name, options
# quantize CODE MODEL OUT OPTION...; OUT must not be there yet, unless it is resumed.
quantize() { run "$1" "$MIXTUNE" quantize --quiet --model "$work/$2" --out "$work/$3" "${@:4}"; }
refused() { # code, words, model, out, options
    sentence "$1" "$2" "$MIXTUNE" quantize --quiet --model "$work/$3" --out "$work/$4" "${@:5}"
    no_results
}
check() { run 0 "$PYTHON" tests/model/check_packed.py "$work/$1" "$work/$2" "${@:3}"; } # model, out, options
same() { diff -r "$work/$1" "$work/$2" >"$work/differ" 2>&1 || verdict+=" $(head -c 300 "$work/differ"); "; }
absent() { [ ! -e "$work/$1" ] || verdict+=" $1 is there: $(find "$work/$1" | head -n 5 | tr '\n' ' '); "; }
# Nothing but whole files: no index, no part of one.
unfinished() {
    [ ! -e "$work/$1/model.safetensors.index.json" ] || verdict+=" $1 has an index; "
    [ -z "$(find "$work/$1" -name '*.part' -o -name '*.tmp')" ] || verdict+=" $1 has half a file; "
}

tiny plain
tiny shards --dtype F16 --shards 3 --bias --tied
tiny experts --dtype F32 --experts 3 --prefix model.language_model --vision --layers 1
tiny mixtral --mixtral --experts 4 --layers 1
tiny fused --fused
tiny wide --heads 8 --kv-heads 2 --head-dim 24 --bias
# Layers that are cut along K have biases too.
"$PYTHON" - "$work/wide/model.safetensors" <<'EOF' || verdict+=" no more biases; "
import sys
sys.path.insert(0, "tests/model")
import numpy as np, safetensors
file = safetensors.File(sys.argv[1])
tensors = {name: file[name] for name in file}
for name in [n for n in file if n.endswith(("o_proj.weight", "down_proj.weight"))]:
    tensors[name.replace("weight", "bias")] = np.linspace(-1, 1, len(file[name].data), dtype="f4")
safetensors.write(sys.argv[1] + ".new", tensors)
EOF
mv "$work/wide/model.safetensors.new" "$work/wide/model.safetensors"
tiny wide-fused --fused --heads 8 --kv-heads 2 --head-dim 24

# ---- bit for bit ----

each() { # name, model, options of both, options of quantize alone
    local both
    read -ra both <<<"$3"
    quantize 0 "$2" "out-$number" "${both[@]}" "${@:4}"
    check "$2" "out-$number" --rest "${both[@]}"
    result "$1"
}
each 'bf16, p10 of the whole model' plain "--scheme p10 --salience $work/plain.sal"
each 'fp16 in 3 shards, biases, tied embeddings, p50 filled up to 16' shards "--scheme p50 --salience $work/shards.sal --fill 16"
each 'fp32 experts, another prefix, groups of 64, by rounding error' experts '--scheme p20 --uniform --group 64'
each 'experts of Mixtral, groups of 256, symmetric, the same share by salience' mixtral "--scheme p10 --uniform --group 256 --symmetric --salience $work/mixtral.sal"
each 'fused in the source, p100' fused '--scheme w8a8 --uniform'
each 'fused, clipped, filled by the errors of clipped ranges' fused '--scheme p50 --uniform --clip --fill 32'
quantize 0 plain sym --scheme p12.5-sym --salience "$work/plain.sal"
check plain sym --rest --scheme p12.5 --symmetric --salience "$work/plain.sal"
result 'p12.5 without zero points'
quantize 0 plain default --rest leave
check plain default
[ ! -e "$work/default/rest.safetensors" ] || verdict+=" the rest is there; "
result 'all in 4 bits by default, the rest left where it is'

# ---- tensor parallelism ----

chosen() { grep -aoE '"[a-z0-9._]+":"\{\\"layer[^}]*rows8_chosen\\":[0-9]+' "$work/$1/layer-00000.safetensors" | sed -E 's/^"([^"]*).*:([0-9]+)$/\1 \2/'; } # folder
quantize 0 wide whole --scheme p10 --salience "$work/wide.sal"
for tp in 2 4; do
    quantize 0 wide cut-$tp --tp $tp --scheme p10 --salience "$work/wide.sal"
    for ((rank = 0; rank < tp; rank++)); do
        check wide cut-$tp/rank-$rank-of-$tp --rest --scheme p10 --salience "$work/wide.sal"
        [ "$(chosen cut-$tp/rank-$rank-of-$tp)" = "$(chosen cut-$tp/rank-0-of-$tp)" ] || verdict+=" rank $rank of $tp has other numbers; "
    done
done
[ "$(chosen whole | wc -l)" = 4 ] || verdict+=" $(chosen whole | wc -l) layers; "
# Cut along N they are dealt out and rounded up; cut along K every rank has all.
[ "$(chosen cut-2/rank-0-of-2)" = "$(chosen whole | awk '/qkv|gate_up/ { $2 = int(($2 + 1) / 2) } 1')" ] || verdict+=" not half of them in both ranks; "
result 'ranks of 2 and 4, which share the heads of k and v'
quantize 0 wide-fused cut-fused --tp 4 --scheme p20,w8a8 --uniform --fill 8
for rank in 0 1 2 3; do
    check wide-fused cut-fused/p20/rank-$rank-of-4 --scheme p20 --uniform --fill 8
    check wide-fused cut-fused/w8a8/rank-$rank-of-4 --scheme w8a8 --uniform
done
result 'ranks of what is fused in the source, two schemes'

# ---- the same bytes another way ----

all=(p0 p10 p50 p100)
quantize 0 shards together --scheme "$(IFS=, && echo "${all[*]}")" --salience "$work/shards.sal" --threads 2
for scheme in "${all[@]}"; do
    quantize 0 shards "alone/$scheme" --scheme "$scheme" --salience "$work/shards.sal" --threads 1
done
same together alone
result 'schemes in one pass and one by one, with 1 thread and with 2'

quantize 0 plain bits --bits 7 --salience "$work/plain.sal" --json
"$PYTHON" - "$work/out" <<'EOF' || verdict+=" not 6.8 to 7 bits; "
import json, sys
lines = [json.loads(line) for line in open(sys.argv[1])]
(bits,) = (line["bits_per_weight"] for line in lines if "bits_per_weight" in line)
down, = (line for line in lines if line.get("layer") == "down")
assert 6.8 < bits <= 7 and 0 < down["least_percent8"] <= down["median_percent8"] <= down["most_percent8"], lines
EOF
check plain bits --rest
quantize 0 plain bytes --bytes 430000 --uniform
expect '^p5: 6\.08' out
check plain bytes --rest --scheme p5 --uniform
result 'as many 8-bit features as bits or bytes allow'

# ---- stopped and resumed ----

tiny long --layers 24
long=(--scheme p10,p50 --uniform --threads 1)
quantize 0 long undisturbed "${long[@]}"
kills=0
for ((i = 0; i < 10; i++)); do
    timeout --foreground -s KILL "0.0$((RANDOM % 80 + 10))" "$MIXTUNE" quantize --quiet --model "$work/long" --out "$work/killed" "${long[@]}" >"$work/null" 2>&1
    case $? in
    0 | 124) rm -rf "$work/killed" ;; # it was faster; 124: just as its time was over
    137) kills=$((kills + 1)) ;;
    *) verdict+=" another end than by the signal; " ;;
    esac
done
[ $kills -gt 0 ] || verdict+=" it was never killed; "
quantize 0 long killed "${long[@]}"
same undisturbed killed
result 'killed at random moments and resumed: the same bytes'

has_begun() { [ -e "$work/$1/p10/layer-00000.safetensors" ] || ! kill -0 "$running" 2>"$work/null"; } # out
# One that has begun and has not ended is stopped, so that the signal finds it there.
stop_running() { # out; sets $running
    local try
    for ((try = 0; try < 50; try++)); do
        rm -rf "${work:?}/$1"
        "$MIXTUNE" quantize --quiet --model "$work/long" --out "$work/$1" "${long[@]}" --clip >"$work/out" 2>"$work/err" &
        running=$!
        await has_begun "$1"
        kill -STOP "$running" || break
        [ -e "$work/$1/p50/layer-00023.safetensors" ] || return 0
        kill -CONT "$running"
        wait "$running"
    done
    verdict+=" it was never caught; "
}
stop_running interrupted
refused 1 'another process is writing to' long interrupted "${long[@]}" --clip
kill -INT "$running"
kill -CONT "$running"
wait "$running"
code=$?
[ $code = 75 ] || verdict+=" exit code $code, not 75, after ^C; "
grep -q 'interrupted after .* layers; the same command goes on from there' "$work/err" || verdict+=" no word of going on; "
unfinished interrupted
quantize 0 long interrupted "${long[@]}" --clip
quantize 0 long not-interrupted "${long[@]}" --clip
same interrupted not-interrupted
result 'interrupted and resumed: the same bytes; one process at a time'

stop_running cut
truncate -s 5000 "$work/long/model.safetensors"
kill -CONT "$running"
wait "$running"
code=$?
untold=1
[ $code = 1 ] || verdict+=" exit code $code, not 1, when the model was cut short meanwhile; "
grep -q "one was cut short, or its disk fails; the same command goes on" "$work/err" || verdict+=" no word of it; "
[ ! -e "$work/cut/p50/model.safetensors.index.json" ] || verdict+=" it is finished; "
result 'a model that is cut short while it is read'

# ---- what is refused ----

quantize 0 plain taken --scheme w4a8
cp -r "$work/taken" "$work/before"
refused 1 'taken|another model or of other options' plain taken --scheme w8a8
refused 1 'taken|another model or of other options' shards taken
refused 64 'the folder of the model itself' plain plain
refused 64 'taken is packed already' taken new
same taken before
absent new
mkdir "$work/notes"
echo mine >"$work/notes/config.json"
refused 1 'notes has files that are no packed layers (config.json)' plain notes
[ "$(cat "$work/notes/config.json")" = mine ] || verdict+=" config.json was written over; "
result 'a folder of something else stays as it is'

refused 64 'salience FILE|uniform' plain new --scheme p10
refused 64 'scheme|bits' plain new --scheme p10 --bits 5 --uniform
refused 64 'bits per weight where all features have 4 bits and 10.598' plain new --bits 3 --uniform
refused 64 '--bytes 99999999|385920 bytes|748800' plain new --bytes 99999999 --salience "$work/plain.sal"
refused 64 'with and without zero points' plain new --scheme p0,p10-sym --uniform
refused 64 'p10 is there twice' plain new --scheme p10,p10 --uniform
refused 64 '--tp 4 cannot cut the 6 heads of model.layers.0.self_attn.q_proj' plain new --tp 4
refused 64 'there is no folder' nothing new
refused 64 'is a file; --model takes the folder' plain/model.safetensors new
cp -r "$work/plain" "$work/bell"$'\a'
refused 64 'no UTF-8 text without control characters' "bell"$'\a' new
"$PYTHON" tests/model/foreign.py "$work/plain" "$work/gptq" --format gptq --group 64 || verdict+=" no checkpoint of GPTQ; "
refused 64 'gptq is quantised already|mixtune convert' gptq new
refused 64 '--group: 100 is not one of 64, 128, 256' plain new --group 100
refused 64 '--rest' plain new --rest lose
sentence 64 '--model DIR' "$MIXTUNE" quantize --out "$work/new"
sentence 64 '--out DIR' "$MIXTUNE" quantize --model "$work/plain"
absent new
result 'options that do not fit'

# change FILE TENSOR INDEX VALUE: one element of a tensor in a safetensors file.
change() {
    "$PYTHON" - "$@" <<'EOF' || verdict+=" cannot change $1; "
import sys
sys.path.insert(0, "tests/model")
import numpy as np, safetensors
path, name, index, value = sys.argv[1:]
file = safetensors.File(path)
begin, kind = file.begin(name), file.entries[name]["dtype"]
tensor = safetensors.as_type(np.array([float(value)]), kind)
with open(path, "r+b") as f:
    f.seek(begin + int(index) * tensor.data.itemsize)
    f.write(tensor.raw())
EOF
}
salience() { refused 64 "$1" plain new --scheme p10 --salience "$work/wrong.sal"; } # words
cp "$work/fused.sal" "$work/wrong.sal"
salience 'wrong.sal has no tensor model.layers.0.self_attn.q_proj.weight'
cp "$work/plain.sal" "$work/wrong.sal"
change "$work/wrong.sal" model.layers.1.mlp.up_proj.weight 7 nan
salience 'number 7 of tensor model.layers.1.mlp.up_proj.weight is nan'
change "$work/wrong.sal" model.layers.1.mlp.up_proj.weight 7 -1
salience 'number 7 of tensor model.layers.1.mlp.up_proj.weight is -1'
"$PYTHON" tests/model/tiny.py "$work/scratch" --salience "$work/wrong.sal" --intermediate 321
salience 'model.layers.0.mlp.gate_proj.weight has 321 numbers, but the weight has 320 features'
head -c 3000 "$work/plain.sal" >"$work/wrong.sal"
refused 1 'wrong.sal' plain new --scheme p10 --salience "$work/wrong.sal"
absent new
result 'saliences that are missing, too many, no numbers or negative'

damaged() { rm -rf "${work:?}/damaged"; cp -r "$work/$1" "$work/damaged"; }
damaged shards
change "$work/damaged/model-00002-of-00003.safetensors" model.layers.0.mlp.down_proj.weight 327 nan
refused 64 'tensor model.layers.0.mlp.down_proj.weight, row 1, column 7 is nan' damaged broken --uniform --scheme p10
unfinished broken
change "$work/damaged/model-00002-of-00003.safetensors" model.layers.0.mlp.down_proj.weight 327 inf
refused 64 'row 1, column 7 is inf' damaged broken
unfinished broken
# No layer was written, so the folder is not the damaged model's.
quantize 0 shards broken --scheme p10 --uniform
check shards broken --rest --scheme p10 --uniform
result 'weights that are no numbers'

damaged shards
rm "$work/damaged/model-00002-of-00003.safetensors"
refused 1 'the shard|model-00002-of-00003.safetensors is missing' damaged new
damaged shards
truncate -s -100 "$work/damaged/model-00002-of-00003.safetensors"
refused 1 'model-00002-of-00003.safetensors is cut short' damaged new
damaged shards
sed -i '1s/"F16"/"F32"/' "$work/damaged/model-00001-of-00003.safetensors"
refused 1 'model-00001-of-00003.safetensors|not what its shape and type F32 need' damaged new
damaged plain
sed -i '1s/"BF16"/"F8_X"/g' "$work/damaged/model.safetensors"
refused 64 'tensor model.layers.0.self_attn.q_proj.weight is of type F8_X|mixtune convert' damaged new
damaged plain
sed -i '1s/mlp.up_proj/mlp.dn_proj/g' "$work/damaged/model.safetensors"
refused 64 'gate_proj is there without the layer up' damaged new
absent new
result 'shards that are missing, cut short, or lie'

damaged plain
sed -i '1s/self_attn.o_proj/self_attn.z_proj/g' "$work/damaged/model.safetensors"
run 0 "$MIXTUNE" quantize --model "$work/damaged" --out "$work/odd"
expect '2 tensors of decoder layers are of no known linear layer .*model.layers.0.self_attn.z_proj.weight' err
grep -q 'model.layers.1.self_attn.z_proj.weight.*rest' "$work/odd/model.safetensors.index.json" || verdict+=" z_proj was dropped; "
result 'linear layers that are not known are named and carried along'

run 1 bash -c 'ulimit -f 100; exec "$@"' - "$MIXTUNE" quantize --quiet --model "$work/plain" --out "$work/limited"
expect 'cannot write .*layer-00000.safetensors: File too large' err
unfinished limited
quantize 0 plain limited
same taken limited
mkdir "$work/small"
if unshare -rm bash -c 'mount -t tmpfs -o size=64k tmpfs "$1"' - "$work/small" 2>"$work/null"; then
    # There is room for one layer of two.
    run 1 unshare -rm bash -c '
        mount -t tmpfs -o size=300k tmpfs "$3" || exit 7
        "$1" quantize --quiet --model "$2" --out "$3/out"; code=$?
        ls -A "$3/out" | xargs >"$3/../left"
        exit $code' - "$MIXTUNE" "$work/plain" "$work/small"
    expect 'cannot write .*layer-00001.safetensors: No space left on device; free some space' err
    expect '^.mixtune layer-00000.safetensors$' left
fi
result 'a full disk is a sentence, and only whole files are left'
finish
