#!/bin/bash
# `mixtune quantize --method gptq` and `--clip --hessian`, compared code by code with GPTQ as tests/model/gptq.py has it, which inverts H.
# shellcheck disable=SC2016,SC2054 # scripts in quotes, commas
set -u
. tests/cli/cases.sh
. tests/model/python.sh
work=$TMPDIR
export OPENBLAS_NUM_THREADS=1 # of NumPy
if [ -z "$PYTHON" ]; then
    skip 'GPTQ' 'no python3 with NumPy'
    finish
fi

tiny() { "$PYTHON" tests/model/tiny.py "$work/$1" --salience "$work/$1.sal" --hessian "$work/$1.hess" "${@:2}" || verdict+=" no checkpoint $1; "; } # name, options
quantize() { run "$1" "$MIXTUNE" quantize --quiet --model "$work/$2" --out "$work/$3" "${@:4}"; } # code, model, out, options
refused() { # code, words, options
    sentence "$1" "$2" "$MIXTUNE" quantize --quiet --model "$work/plain" --out "$work/new" "${@:3}"
    no_results
    [ ! -e "$work/new/model.safetensors.index.json" ] || verdict+=" there is a new folder; "
}
check() { run 0 "$PYTHON" tests/model/check_packed.py "$work/$1" "$work/$2" "${@:3}"; } # model, out, options
same() { diff -r "$work/$1" "$work/$2" >"$work/differ" 2>&1 || verdict+=" $(head -c 300 "$work/differ"); "; }
each() { # name, model, options
    local options
    read -ra options <<<"--hessian $work/$2.hess $3"
    quantize 0 "$2" "out-$number" "${options[@]}"
    check "$2" "out-$number" "${options[@]}"
    result "$1"
}

tiny plain --layers 1
tiny experts --layers 1 --hidden 192 --intermediate 136 --experts 2 --dtype F32 --seed 3
tiny fused --layers 1 --hidden 96 --intermediate 448 --fused --seed 2

# Hessians of `plain` that are damaged. Of `bent` one direction has a negative square, of 5 % of the mean of the diagonal.
"$PYTHON" - "$work/plain.hess" "$work" <<'EOF' || verdict+=" cannot damage the Hessians; "
import sys
sys.path.insert(0, "tests/model")
import numpy as np, safetensors
file = safetensors.File(sys.argv[1])
o, down = (f"model.layers.0.{name}.weight" for name in ("self_attn.o_proj", "mlp.down_proj"))

def put(name, at, change):
    tensors = {name: np.array(file[name].data) for name in file}
    tensors[at] = change(tensors[at])
    safetensors.write(f"{sys.argv[2]}/{name}", {name: t for name, t in tensors.items() if t is not None})

def element(row, column, value):
    def change(h):
        h[row, column] = h[column, row] = value
        return h
    return change

put("wrong-missing", down, lambda h: None)
put("wrong-type", down, lambda h: h.astype("f8"))
put("wrong-shape", down, lambda h: h[:192, :192])
put("wrong-nan", down, element(3, 7, np.nan))
put("wrong-inf", o, element(0, 191, np.inf))
put("wrong-negative", o, element(5, 5, -1))
put("wrong-twin", o, lambda h: np.triu(h) + np.tril(h, -1) * np.where(np.indices(h.shape)[0] == 90, 2, 1).astype("f4"))
put("bent", o, lambda h: element(0, 1, 1.05)(np.eye(192, dtype="f4")))
put("bent-far", o, lambda h: element(0, 1, 5)(np.eye(192, dtype="f4")))
EOF

# ---- code by code ----

each 'p20 of the whole model' plain "--method gptq --scheme p20 --salience $work/plain.sal"
each 'in the order of inputs, groups of 64, symmetric, clipped by output error' plain '--method gptq --group-order index --group 64 --symmetric --clip'
each 'fused, groups of 256, chosen and filled up by the change of the output' fused '--method gptq --group 256 --scheme p20 --uniform --fill 16 --damping 0.05'
each 'rounded to nearest, clipped by output error' fused '--clip --scheme p50 --uniform'
quantize 0 experts experts-out --method gptq --hessian "$work/experts.hess" --clip
expect 'no token came to model.layers.0.experts.1.gate_up .*rounded to nearest' err
check experts experts-out --method gptq --hessian "$work/experts.hess" --clip
result 'an expert that no token came to'
both=(--method gptq --hessian "$work/plain.hess" --scheme p10 --uniform)
quantize 0 plain cut --tp 2 "${both[@]}"
for rank in 0 1; do check plain cut/rank-$rank-of-2 "${both[@]}"; done
result 'ranks of 2, those of o and down by the Hessian of their own inputs'

# ---- the same bytes another way ----

tiny long --layers 12 --hidden 128 --intermediate 256
long=(--method gptq --hessian "$work/long.hess" --scheme p0,p10 --uniform)
quantize 0 long one "${long[@]}" --threads 1
quantize 0 long two "${long[@]}" --threads 2
same one two
result 'on 1 thread and on 2'
stopped=0
for signal in KILL INT KILL INT; do
    timeout --foreground -s $signal "0.0$((RANDOM % 50 + 20))" "$MIXTUNE" quantize --quiet --model "$work/long" --out "$work/stopped" "${long[@]}" >"$work/null" 2>&1
    case $? in
    0) rm -rf "$work/stopped" ;; # it was faster
    *) stopped=$((stopped + 1)) ;;
    esac
done
[ $stopped -gt 0 ] || verdict+=" it was never stopped; "
quantize 0 long stopped "${long[@]}"
same one stopped
result 'stopped at random moments and resumed'
cp "$work/plain.hess" "$work/other.hess"
quantize 0 plain kept --hessian "$work/other.hess" --method gptq
quantize 0 plain kept --hessian "$work/plain.hess" --method gptq
sentence 1 'kept|of other options' "$MIXTUNE" quantize --quiet --model "$work/plain" --out "$work/kept" --hessian "$work/bent" --method gptq
result 'a Hessian is known by its numbers, not by its name'

# ---- what is refused ----

wrong() { refused 64 "wrong-$1|$2" --method gptq --hessian "$work/wrong-$1"; } # file, words
wrong missing 'has no tensor model.layers.0.mlp.down_proj.weight'
wrong type 'down_proj.weight is no matrix of F32 numbers'
wrong shape 'down_proj.weight is 192 x 192, but the weight has 320 input features'
wrong nan 'down_proj.weight, row 3, column 7 is nan'
wrong inf 'o_proj.weight, row 0, column 191 is inf'
wrong negative 'o_proj.weight, row 5, column 5 is -1'
wrong twin 'o_proj.weight, row 90, column|but row|column 90 is|a Hessian is symmetric'
head -c 3000 "$work/plain.hess" >"$work/short.hess"
refused 1 'short.hess' --method gptq --hessian "$work/short.hess"
refused 64 'there is no' --method gptq --hessian "$work/nothing.hess"
result 'Hessians that are missing, of another shape, or no sums of squares'

refused 64 'plain.sal has saliences, which --salience takes' --method gptq --hessian "$work/plain.sal"
refused 64 '--method gptq needs|--hessian FILE' --method gptq
refused 64 '--hessian is read by --method gptq and by --clip' --hessian "$work/plain.hess"
refused 64 '--method: `awq` is neither rtn nor gptq' --method awq
refused 64 '--group-order' --group-order random
for share in 0 -1 2 nan x; do refused 64 "--damping: \`$share\`" --damping=$share; done
mkdir "$work/library"
echo no library >"$work/library/liblapacke.so.3"
LD_LIBRARY_PATH=$work/library refused 1 'apt-get install liblapacke libopenblas0-pthread|file too short' --method gptq --hessian "$work/plain.hess"
result 'options that do not fit, and libraries that are missing'

# ---- the damping ----

quantize 0 plain raised --method gptq --hessian "$work/bent"
expect 'warning: the Hessian of model.layers.0.o is not positive definite: its damping becomes 0.1$' err
quantize 1 plain new --method gptq --hessian "$work/bent-far"
expect 'mixtune: the Hessian of model.layers.0.o is not positive definite, even with damping 1$' err
result 'a Hessian that is not positive definite has more damping'
finish
