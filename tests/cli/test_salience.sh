#!/bin/bash
# tuner/quantize/salience.py: saliences and Hessians of small models, each compared with tests/accuracy/check_salience.py; texts of
# all kinds; what it refuses; runs that are stopped.
set -u
. tests/cli/cases.sh
. tests/model/python.sh
work=$TMPDIR
if [ -z "$TORCH_PYTHON" ]; then
    skip 'saliences' 'no python3 with PyTorch and transformers'
    finish
fi
export MIXTUNE
script=tuner/quantize/salience.py
small=(--hidden 128 --intermediate 192 --heads 4)

tiny() { "$TORCH_PYTHON" tests/model/tiny.py "$work/$1" "${@:2}" || verdict+=" no checkpoint $1; "; } # name, options

refused() { sentence "$1" "$2" "$TORCH_PYTHON" "$script" --model "$work/$3" --out "$work/refused" "${@:4}"; }

tiny plain "${small[@]}" --dtype F32
tiny other "${small[@]}" --dtype F32 --seed 2
tiny biased "${small[@]}" --bias --tied
tiny fused "${small[@]}" --fused --dtype F16
tiny mixtral "${small[@]}" --mixtral --experts 4 --layers 1
tiny experts "${small[@]}" --experts 6 --dtype F32
sed -i 's/"vocab_size"/"pad_token_id": null, &/' "$work/fused/config.json"

# ---- texts ----

mkdir "$work/folder"
cp README.md "$work/text"
"$TORCH_PYTHON" - "$work" <<'EOF2' || verdict+=" texts are read in another way; "
import gzip, json, os, sys
sys.path.insert(1, "tuner/quantize")
import texts
work = sys.argv[1]
path = lambda name: os.path.join(work, "folder", name)
page = "<html><head><title>no</title><style>p {}</style></head><body><h1>A</h1><p>b <b>c</b>\nd &amp; e<p>f<pre>g\n  h</pre><script>i</script></body>"
open(path("a.html"), "w").write(page)
gzip.open(path("b.txt.gz"), "wt").write("second")
open(path("c.jsonl"), "w").write('{"text": "third"}\n\n{"other": 1}\n{"text": "fourth"}\n')
open(path("d.json"), "w").write(json.dumps([{"text": "fifth"}]))
open(path("dataset_info.json"), "w").write("{}")
open(path("e.bin"), "w").write("no text")
want = "A\nb c d & e\nf\ng\nh\n\nsecond\n\nthird\n\nfourth\n\nfifth"
got = texts.corpus_text(os.path.join(work, "folder"))
assert got == want, got
class Letters:
    def __call__(self, text, **_): return {"input_ids": [ord(c) for c in text]}
long = "".join(f"line {i}\n" for i in range(3 * texts.PIECE // 12))
assert texts.tokens_of(Letters(), long) == [ord(c) for c in long]
some = texts.windows(list(range(100)), 500, 40, 7)
assert some == texts.windows(list(range(100)), 500, 40, 7) != texts.windows(list(range(100)), 500, 40, 8)
assert all(w == list(range(w[0], w[0] + 40)) for w in some) and {w[0] for w in some} == set(range(61)), "not every window is drawn"
EOF2
result 'texts of a folder: HTML, JSON, compressed, in order; every window can be drawn'

# ---- against the reference ----

mkdir "$work/runs"
text="--text $work/text --text docs=0.5 --length 48 --samples 3"
run 0 "$TORCH_PYTHON" tests/accuracy/check_salience.py "$work/runs" "$work/biased $text --symmetric" \
    "$work/fused $text --group 64 --recompute" "$work/mixtral $text" "$work/experts $text --recompute --seed 3"
[ "$(wc -l <"$work/out")" = 4 ] || verdict+=" not four models; "
result 'saliences and Hessians of every feature and input; one and two threads give the same bytes'

# ---- refusals ----

refused 64 '--text|required' plain
refused 64 'no-such-text' plain --text "$work/no-such-text"
refused 64 'no-such-model' no-such-model --text docs
refused 64 'above 0' plain --text docs=-1
refused 64 '--samples|0 is no number from 1' plain --text docs --samples 0
refused 64 '--group|96' plain --text docs --group 96
sentence 64 '--out or --hessian' "$TORCH_PYTHON" "$script" --model "$work/plain" --text docs
sentence 64 'no folder that can be written to' "$TORCH_PYTHON" "$script" --model "$work/plain" --text docs --out "$work/no/s.safetensors"
result 'wrong options are one sentence, before PyTorch is loaded'

run 0 "$TORCH_PYTHON" tests/cli/salience_refuses.py "$work"
result 'wrong texts, packed checkpoints and models; Hessians are resumed, those of other samples stay'

# ---- stopped ----

echo old >"$work/stopped"
"$TORCH_PYTHON" "$script" --model "$work/plain" --text docs --length 512 --samples 20000 --threads 2 --out "$work/stopped" 2>"$work/err" &
running=$!
await grep -q 'samples,' "$work/err"
kill "$running"
wait "$running"
code=$?
[ $code = 75 ] || verdict+=" it ends with $code; "
expect 'interrupted' err
[ "$(cat "$work/stopped")" = old ] || verdict+=' the file that was there is gone; '
[ -z "$(find "$work" -maxdepth 1 -name '.salience*' -o -maxdepth 1 -name '*.part')" ] || verdict+=' something is left behind; '
result 'stopped: exit code 75, and what was there stays'

finish
