#!/bin/bash
# mixtune convert: every format into packed layers and out of them, compared with what NumPy reads; and every refusal.
set -u
export MIXTUNE_LOG=info
. tests/cli/cases.sh
. tests/model/python.sh
work=$TMPDIR
if [ -z "$PYTHON" ]; then
    skip 'mixtune convert' 'no python3 with NumPy'
    finish
fi

into() { # source, target, options: to the packed format, or another
    run 0 "$MIXTUNE" convert --model "$work/$1" --out "$work/$2" "${@:3}"
}
compared() { # kind, pairs of folders
    local folders=() name
    for name in "${@:2}"; do folders+=("$work/$name"); done
    run 0 "$PYTHON" tests/cli/convert.py "$1" "${folders[@]}"
}
configured() { # folder, words
    run 0 "$PYTHON" tests/cli/convert.py config "$work/$1" "$2"
}
refused() { # words, source, options: one sentence and nothing written
    sentence 64 "$1" "$MIXTUNE" convert --model "$work/$2" --out "$work/never" "${@:3}"
    no_results
    [ ! -e "$work/never" ] || verdict+=" $2 was written in part: $(ls "$work/never"); "
    [ ! -e "$work/never.part" ] || verdict+=" $2 left never.part; "
}

run 0 "$PYTHON" tests/cli/convert.py make "$work"
result 'checkpoints of every format'

formats=(pq pq-sym pq-bf16 pq-wide pq-8 pq-channel int int-8 gptq gptq-sym gptq-v2 gptq-8 gptq-channel gptq-called-v1 awq)
pairs=()
for name in "${formats[@]}"; do
    into "$name" "$name.mt"
    pairs+=("$name" "$name.mt")
done
compared packed "${pairs[@]}"
into mixllm mixllm.mt
into targets targets.mt
into targets-2 targets-2.mt
compared truth mixllm mixllm.mt targets targets.mt targets-2 targets-2.mt
configured gptq.mt none
[ ! -e "$work/gptq.mt/quantize_config.json" ] || verdict+=' quantize_config.json came along; '
cmp -s "$work/gptq/tokenizer.json" "$work/gptq.mt/tokenizer.json" || verdict+=' no tokenizer.json; '
result 'every format into packed layers: codes, zero points, scales, biases, and the rest'

pairs=()
for name in pq gptq awq; do
    into "$name-unsaid" "$name-unsaid.mt"
    pairs+=("$name.mt" "$name-unsaid.mt")
done
compared same "${pairs[@]}"
into gptq-unsaid gptq-unsaid.g --to gptq
expect "zero points are taken as those of v1: .*mean is 6\\.[0-9]+.*--gptq-version" err
into gptq-called-v1 called.g --to gptq
expect 'zero points are taken as those of v2: the config says the other' err
result 'formats without a config, told by their tensors'

# There and back, from packed layers with and without zero points, of 4 bits and of 8.
pairs=()
there_and_back() { # format, names
    local name
    for name in "${@:2}"; do
        into "$name.mt" "$name.$1" --to "$1"
        into "$name.$1" "$name.$1.mt"
        pairs+=("$name.mt" "$name.$1.mt")
    done
}
there_and_back pack-quantized targets-2 pq pq-sym pq-bf16 pq-8 targets gptq pq-wide
there_and_back gptq targets-2 pq gptq gptq-8 gptq-channel pq-bf16 targets
compared same "${pairs[@]}"
result 'packed layers into pack-quantized and gptq and back: the same bytes'

pairs=()
for name in pq pq-sym pq-bf16 pq-8 pq-wide; do pairs+=("$name" "$name.pack-quantized"); done
into pq-wide.mt pq-wide.again --to pack-quantized
expect 'the scales of [0-9]+ linear layers stay fp16' err
into gptq-v2 gptq-v2.mt2
into gptq-v2.mt2 gptq-v2.back --to gptq
into gptq gptq.v2 --to gptq
pairs+=(gptq-v2 gptq-v2.back gptq.v2 gptq.gptq)
into pq-channel pq-channel.direct --to pack-quantized
into int-8 int-8.direct --to pack-quantized
into int-8.direct int-8.direct.mt
pairs+=(pq-channel pq-channel.direct int-8.mt int-8.direct.mt)
compared same "${pairs[@]}"
configured targets.pack-quantized 'num_bits=8 targets=1'
configured targets.gptq 'bits=4 group_size=64'
configured pq.pack-quantized 'format=pack-quantized num_bits=4 symmetric=false group_size=64 targets=1 inputs=null'
configured pq-8.pack-quantized 'num_bits=8 symmetric=true'
configured int-8.direct 'num_bits=8 strategy=channel inputs=8'
configured gptq.gptq 'quant_method=gptq checkpoint_format=gptq_v2 bits=4 group_size=64 sym=false desc_act=false'
configured gptq-8.gptq 'bits=8 sym=true'
result 'other formats by way of packed layers: the same tensors; their configs'

run 0 "$MIXTUNE" convert --json --quiet --model "$work/gptq" --out "$work/json"
expect '^\{.*"from":"GPTQ".*"linear_layers":14.*"layers":8.*"rows8":0.*"gptq_version":1.*\}$' out
[ ! -s "$work/err" ] || verdict+=' words in spite of --quiet; '
rm "$work/json/layer-00001.safetensors" "$work/json/model.safetensors.index.json"
into gptq json
compared same gptq.mt json
result 'one JSON object; a file that is missing is made again'

refused '_proj are grouped|act-order|without act-order' bad-order
refused 'act-order' bad-order-pq --to gptq
refused '8-bit weights with zero points|symmetric 8-bit' bad-zeros
refused 'groups of 32 inputs|64, 128 and 256' bad-group
refused 'attn.q_proj has groups of 64|v_proj of 128|one group size' bad-groups
refused 'scales exactly, the first|--round-scales' bad-scales
refused 'scales exactly' bad-scales --to pack-quantized
refused 'quantised by fp8|compressed-tensors, gptq, awq' bad-method
refused 'weight_packed|and shape [' bad-bits
refused 'q_proj is there without the layer k' bad-part
refused 'not quantised|mixtune quantize' src
refused 'format already' pq.mt
refused 'features of|have 8 bits|w4a8 and w8a8' mixllm.mt --to pack-quantized
refused 'features of|have 8 bits' mixllm --to gptq
refused 'inputs of|no multiple of its group size' int.mt --to pack-quantized
refused 'there is no folder' nothing
refused 'formats are mixtune, pack-quantized and gptq' pq --to awq
refused '--gptq-version' gptq --gptq-version 3
sentence 64 '--model DIR --out DIR' "$MIXTUNE" convert --model "$work/pq"
sentence 64 'has files already' "$MIXTUNE" convert --model "$work/pq" --out "$work/gptq" --to gptq
mkdir "$work/mine.part" && echo precious >"$work/mine.part/file"
sentence 64 'mine.part has files already' "$MIXTUNE" convert --model "$work/pq" --out "$work/mine" --to gptq
grep -q precious "$work/mine.part/file" || verdict+=' a file of somebody was removed; '
rm "$work/mine.part/file" && touch "$work/mine.part/.mixtune" "$work/mine.part/model-00001-of-00002.safetensors"
into pq mine --to gptq # what a killed run left
[ "$(ls -A "$work/mine")" = "$(ls -A "$work/pq.gptq")" ] || verdict+=" other files in mine: $(ls -A "$work/mine"); "
result 'what cannot be converted exactly is one sentence, and nothing is written'

into bad-scales rounded --round-scales
expect 'of [0-9]+ scales were rounded to fp16, the worst by' err
result '--round-scales rounds, and says by how much'

cp -r "$work/gptq" "$work/short"
truncate -s -100 "$work/short/model.safetensors"
for to in mixtune gptq; do
    sentence 1 'short/model.safetensors' "$MIXTUNE" convert --model "$work/short" --out "$work/never" --to $to
    [ ! -e "$work/never" ] || verdict+=' a cut file was converted; '
done
printf 'x' | dd of="$work/gptq-8.mt/layer-00000.safetensors" bs=1 seek=9000 conv=notrunc status=none
sentence 1 'copy the checkpoint again' "$MIXTUNE" convert --quiet --model "$work/gptq-8.mt" --out "$work/never" --to gptq
[ ! -e "$work/never" ] && [ ! -e "$work/never.part" ] || verdict+=' a damaged file was converted; '
result 'cut and damaged files'
finish
