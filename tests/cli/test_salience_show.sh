#!/bin/bash
# `mixtune show --salience`: every number against tests/model/check_shown.py, the plot, and what it refuses.
# shellcheck disable=SC2016,SC2054 # scripts in quotes, commas
set -u
. tests/cli/cases.sh
. tests/model/python.sh
work=$TMPDIR
if [ -z "$PYTHON" ]; then
    skip 'saliences shown' 'no python3 with NumPy'
    finish
fi

tiny() { "$PYTHON" tests/model/tiny.py "$work/$1" --salience "$work/$1.sal" "${@:2}" || verdict+=" no checkpoint $1; "; } # name, options
show() { run "$1" "$MIXTUNE" show --salience "$work/$2" "${@:3}"; }                                                      # code, file, options
# The same options for both; the names of model and file alone differ.
numbers() { # model, options
    show 0 "$1.sal" --json "${@:2}"
    cp "$work/out" "$work/shown"
    run 0 "$PYTHON" tests/model/check_shown.py "$work/$1" "$work/$1.sal" "$work/shown" "${@:2}"
}
tiny plain
tiny experts --experts 12 --layers 3 --prefix model.language_model
tiny mixtral --mixtral --experts 4 --layers 1
tiny fused --fused

# ---- numbers ----

numbers plain
numbers plain --uniform
result 'all shares, of the model and of each layer: bits, overlaps, classes'
numbers plain --scheme p7.5,p12.5-sym,w8a8 --fill 16
numbers plain --group 64 --symmetric
result 'some shares, filled up, other groups, without zero points'
numbers plain --bits 5.5
numbers plain --bits 6 --uniform
numbers plain --bytes 400000 --fill 8
result 'as many features as bits or bytes allow'
numbers experts
grep -q '"expert":"model.language_model.layers.[0-2].experts.' "$work/shown" || verdict+=" no expert is named; "
numbers experts --scheme p20
numbers mixtral --bits 6
numbers fused
result 'experts, those that saw few tokens, layers that are fused in the checkpoint'

# ---- what people see ----

show 0 plain.sal
expect '^model +layers +features +weights +group +zero_points +samples +length +texts$' out
expect '^tiny +8 +2688 .* 128 +yes +6 +32 +one 4, other 2$' out
expect '^ +4\.50 +0\.75 +5\.00 +cpu, 1 thread$' out
expect '^p12\.5 +336 ' out
expect '^scheme p10$' out
expect '^gate_up +2 +1280 ' out
forbid 'expert|layer_bytes|peak_bytes' out
show 0 experts.sal
expect '^[0-9]+ of 36 experts saw less than a tenth of an even share' out
[ "$(grep -c '^model.language_model.layers.*experts' "$work/out")" -le 8 ] || verdict+=" too many experts in the table; "
result 'the tables'

mkdir "$work/bad"
"$PYTHON" tests/model/bad_saliences.py "$work/plain.sal" "$work/bad" || verdict+=" no bad files; "
show 0 bad/hand-made.sal
forbid 'model|samples|device|overlap' out
cp "$work/bad/hand-made.sal" "$work/hand-made.sal"
ln -s plain "$work/hand-made"
numbers hand-made
show 0 bad/hostile.sal --out "$work/plot"
grep -qP '[\x00-\x08\x0b-\x1f]' "$work/out" && verdict+=" control characters; "
expect 'long a\\x1b\[31m`id`\\x0a' out
result 'only what is there, and hostile names made visible'

# ---- the plot ----

picture() { "$PYTHON" -c 'import sys, xml.dom.minidom as d; d.parse(sys.argv[1]); assert open(sys.argv[2], "rb").read(8) == b"\x89PNG\r\n\x1a\n"' "$work/$1/salience.svg" "$work/$1/salience.png" 2>"$work/err" || verdict+=" no pictures in $1; "; }
if command -v gnuplot >/dev/null; then
    picture plot
    numbers experts --scheme p20
    show 0 experts.sal --json --scheme p20 --out "$work/plot/deep/er"
    cmp -s "$work/out" "$work/shown" || verdict+=" other numbers with a plot; "
    picture plot/deep/er
    run 0 "$PYTHON" tests/model/check_shown.py "$work/experts" "$work/experts.sal" "$work/shown" --scheme p20 --csv "$work/plot/deep/er/salience.csv"
    grep -q 'tiny: share of the features with 8 bits' "$work/plot/deep/er/salience.svg" || verdict+=" no title; "
    result 'the plot and its numbers'
else
    verdict=''
    skip 'the plot' 'no gnuplot'
fi

# ---- what is refused ----

refused() { # words, options
    sentence 64 "$1" "$MIXTUNE" show --salience "${@:2}"
    no_results
}
wrong() { refused "$2" "$work/bad/$1.sal"; } # file, words
wrong no-inputs 'was not made by salience.py|no tensor model.layers.0.self_attn.q_proj.weight.inputs'
wrong odd-inputs 'q_proj.weight.inputs is not one I64 number of at least 1'
wrong float-inputs 'q_proj.weight.inputs is not one I64 number'
wrong other-inputs 'k_proj 191'
wrong huge-inputs '1099511627776 inputs'
wrong nan 'number 7 of tensor model.layers.0.mlp.down_proj.weight is nan'
wrong negative 'number 9 of tensor model.layers.0.mlp.down_proj.weight is -0.5'
wrong integers 'down_proj.weight is no row of F32, F16 or BF16 numbers'
wrong matrix 'down_proj.weight is no row of numbers|a checkpoint, or a file of Hessians'
wrong no-part 'q_proj is there without the layer k'
wrong unknown 'unknown.sal: no tensor is a linear layer of a decoder'
refused 'is no row of numbers|a checkpoint' "$work/plain/model.safetensors"
refused 'there is no folder' "$work/nothing"
head -c 3000 "$work/plain.sal" >"$work/short.sal"
sentence 1 'short.sal' "$MIXTUNE" show --salience "$work/short.sal"
result 'saliences of no layers, of wrong numbers, of none'
wrong hessian 'has Hessians, which --hessian takes'
wrong packed 'has packed layers'
wrong version 'saliences of version 2|make it again'
wrong group 'says group `100`'
wrong symmetric 'says symmetric `maybe`, which is neither true nor false'
wrong seconds 'says seconds `fast`'
wrong samples 'says samples `-1`'
wrong texts 'says texts|not a JSON list of [name, samples]'
wrong nan-half 'number 8 of tensor model.layers.0.mlp.down_proj.weight.halves is nan'
wrong half-length 'down_proj.weight.halves is not [2, 192] numbers'
wrong one-half 'down_proj.weight.halves is not [2, 192] numbers'
wrong no-half 'no tensor model.layers.0.mlp.down_proj.weight.halves, though others have one'
wrong no-squares 'no tensor model.layers.0.mlp.down_proj.weight.squares'
wrong negative-square 'number 3 of tensor model.layers.0.mlp.down_proj.weight.squares is -1'
result 'metadata, halves and squares that lie'
refused '--scheme says how many features keep 8 bits, and so does --bits' "$work/plain.sal" --scheme p10 --bits 5
refused '--bits 3|this model has' "$work/plain.sal" --bits 3
refused '--db is about a database' "$work/plain.sal" --db x.db
refused '--regret is about a database' "$work/plain.sal" --regret=m
refused '--salience has several tables' "$work/plain.sal" --format csv
refused '--out draws one choice' "$work/plain.sal" --scheme p10,p20 --out "$work/none"
[ ! -e "$work/none" ] || verdict+=" it made a folder; "
for option in --bits=5 --bytes=9 --uniform --group=64 --symmetric --out=x; do
    sentence 64 "${option%=*} belongs to --salience FILE" "$MIXTUNE" show "$option"
done
result 'options that do not go together'

# ---- where they are used ----

quantize() { run "$1" "$MIXTUNE" quantize --model "$work/plain" --scheme p10 --salience "$work/$2" --out "$work/$3" "${@:4}"; }
quantize 0 plain.sal own
forbid 'another rounding' err
quantize 0 bad/other-rounding.sal other
expect 'other-rounding.sal judges another rounding: groups of 64 without zero points, not groups of 128 with them' err
diff -r "$work/own" "$work/other" >"$work/differ" || verdict+=" another choice; "
quantize 64 bad/hessian.sal none
expect 'has Hessians, which --hessian takes' err
[ ! -e "$work/none" ] || verdict+=" it made a folder; "
show 0 bad/other-rounding.sal --json
expect '"group":64,"zero_points":"no"' out
forbid . err
# What it says is what quantize writes.
show 0 plain.sal --json --scheme p10
cp "$work/out" "$work/shown"
run 0 "$MIXTUNE" quantize --quiet --json --model "$work/plain" --scheme p10 --salience "$work/plain.sal" --out "$work/own"
diff <(grep percent8 "$work/shown") <(grep percent8 "$work/out") >"$work/differ" || verdict+=" other shares; "
[ "$(grep -o '"layer_bytes":[0-9]*' "$work/shown")" = "$(grep -o '"layer_bytes":[0-9]*' "$work/out")" ] || verdict+=" other bytes; "
result 'quantize: the same shares and bytes; another rounding is told, Hessians are refused'
finish
