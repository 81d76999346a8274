#!/bin/bash
# What people give that is no such file, or no such number: one sentence with the file, and nothing takes gigabytes or hangs.
set -u
. tests/cli/cases.sh
soft=soft:a100-sxm-80g
mkfifo "$TMPDIR/pipe"
mkdir "$TMPDIR/folder"
truncate -s 1T "$TMPDIR/sparse"
: >"$TMPDIR/empty"
printf 'a\0b' >"$TMPDIR/binary"
printf '\xff\xfef\0' >"$TMPDIR/utf16"

# refused CODE WORDS COMMAND OPTIONS...: one sentence with the words, soon, and within 4 GiB of addresses.
refused() {
    # shellcheck disable=SC2016 # $@ is for the inner shell
    sentence "$1" "$2" timeout --kill-after=1 60 bash -c 'ulimit -v 4194304; exec "$@"' - "$MIXTUNE" "${@:3}"
}
# Under each option that takes a file, what is none: unfit NAME CODE OPTIONS..., with @ for the path.
unfit() {
    local what words
    for what in "$TMPDIR"/{pipe,folder,sparse,empty,binary,utf16} /dev/zero /dev/stdin; do
        words=$what
        case $what in
        */sparse) words+='|1099511627776 bytes' ;;
        */binary) words+='|line 1: a byte is 0' ;;
        */utf16) words+='|UTF-16' ;;
        */pipe | */folder | /dev/*) words+='|no file|' ;;
        esac
        # A model may be a folder; a merge takes databases, too; a device is looked for first.
        case $1,$what in
        model,*/folder) words='has no config.json' ;;
        merge,*/sparse | merge,*/binary | merge,*/utf16 | merge,*/empty) words='neither a database of mixtune nor a T4 file' ;;
        esac
        local code=$2
        case $1,$what in device,*/pipe | device,*/folder | device,/dev/*) code=69 ;; esac
        refused "$code" "${words%|}" "${@:3:$#-3}" "${!#/@/$what}" </dev/zero
    done
    result "what is no file of a $1 is refused in one sentence"
}
unfit space 64 verify --quiet --device "$soft" --shape 8,64,128 --space @
unfit model 64 verify --quiet --device "$soft" --m 1 --model @
unfit splits 64 verify --quiet --device "$soft" --model llama-3.1-8b --m 1 --splits @
unfit device 64 verify --quiet --shape 8,64,128 --device soft:@
unfit merge 1 merge --into "$TMPDIR/none.db" @
[ ! -e "$TMPDIR/none.db" ] || verdict+=' a database was made; '
result 'and no database is made of them'

# A checkpoint of one number, with a pipe, a device and a hole beside it.
header='{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
checkpoint() { # file, what it is
    rm -rf "$TMPDIR/checkpoint"
    mkdir "$TMPDIR/checkpoint"
    # shellcheck disable=SC2059 # its length, then itself
    printf "\\x$(printf %02x ${#header})\\0\\0\\0\\0\\0\\0\\0%s\\0\\0\\0\\0" "$header" >"$TMPDIR/checkpoint/model.safetensors"
    ln -sf "$2" "$TMPDIR/checkpoint/$1"
}
for file in config.json quantize_config.json model.safetensors model.safetensors.index.json; do
    for what in "$TMPDIR/pipe" /dev/zero "$TMPDIR/sparse"; do
        checkpoint "$file" "$what"
        code=64
        case $file,$what in model.safetensors,*/sparse | model.safetensors.index.json,*/sparse) code=1 ;; esac
        refused $code "$TMPDIR/checkpoint" convert --model "$TMPDIR/checkpoint" --out "$TMPDIR/out"
    done
done
result 'nor does a checkpoint hang for its small files'

# What was found once.
awk 'BEGIN { print "a: &a [x,x,x,x,x,x,x,x,x]"
    for (i = 98; i < 110; i++) { p = sprintf("%c", i - 1); c = sprintf("%c", i); printf "%s: &%s [*%s,*%s,*%s,*%s,*%s,*%s,*%s,*%s,*%s]\n", c, c, p, p, p, p, p, p, p, p, p }
    print "family: sm80\nvalues:\n  tile_n: [64]" }' >"$TMPDIR/laughs.yaml"
awk 'BEGIN { print "family: sm80\nvalues:"; n = split("tile_n tile_m tile_k stages warps_n warps_m ctas promote", knob, " ")
    for (k = 1; k <= n; k++) { printf "  %s: [0", knob[k]; for (i = 1; i < 256; i++) printf ",%d", i; print "]" } }' >"$TMPDIR/product.yaml"
refused 64 'laughs.yaml|line 1|&a' verify --quiet --device "$soft" --shape 8,64,128 --space "$TMPDIR/laughs.yaml"
refused 64 'product.yaml|more than 4194304 configurations' sweep --quiet --device "$soft" --shape 8,64,128 --db "$TMPDIR/none.db" --space "$TMPDIR/product.yaml"
echo '{"hidden_size": 2147483647, "intermediate_size": 14336, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 9, "head_dim": 128}' >"$TMPDIR/wide.json"
for command in verify bench "sweep --db $TMPDIR/none.db"; do
    # shellcheck disable=SC2086 # options
    refused 64 'of wide|K is 2147483647' $command --quiet --device "$soft" --model "$TMPDIR/wide.json"
done
result 'aliases of aliases, 2^64 combinations and layers of 2^31 features take neither memory nor time'

# Numbers beyond an int, wherever one is asked for.
for value in 2147483648 99999999999 99999999999999999999 -99999999999; do
    for option in --tp --points --fill --group --rows8 --m; do
        refused 64 "$option|$value" verify --quiet --device "$soft" --shape 64,128 --m 1 $option $value
    done
    for option in --max-configs --finals --seed; do
        refused 64 "$option|$value" sweep --quiet --device "$soft" --shape 8,64,128 --db "$TMPDIR/none.db" $option $value
    done
    refused 64 "--shape|$value" verify --quiet --device "$soft" --shape "$value,64,128"
    refused 64 "stages" verify --quiet --device "$soft" --shape 8,64,128 --config "stages=$value"
    refused 64 "cuda:$value" verify --quiet --device "cuda:$value" --shape 8,64,128
done
for range in 1:99999999999:x2 1:2147483647:+1 1:10:0 1:10:x1 1:2:3:4 1:10:-1; do
    refused 64 '--m' verify --quiet --device "$soft" --shape 64,128 --m "$range"
done
ranges=$(printf '1:100000:1,%.0s' {1..9000})
refused 64 '--m: the list has over 100000 values' verify --quiet --device "$soft" --shape 64,128 --m "$ranges"
for time in inf nan 1e400 1e300h 0; do
    refused 64 "--time-limit: \`$time\`" sweep --quiet --device "$soft" --shape 8,64,128 --db "$TMPDIR/none.db" --time-limit "$time"
done
result 'no number of the command line wraps around'

# On a processor that the software device is not compiled for.
sentence 69 'AVX2|x86-64-v3' env SOFTGPU_PROCESSOR=plain "$MIXTUNE" verify --quiet --device "$soft" --shape 8,64,128
result 'an older processor is told'
if [ "$(uname -m)" = x86_64 ]; then
    newer='	(v[a-z0-9]+|shlx|shrx|sarx|rorx|mulx|andn|bextr|bzhi|movbe) '
    objdump -d "$BUILD"/runtime/softgpu/api/*.o >"$TMPDIR/err"
    expect '<cuInit>:' err
    forbid "$newer" err
    objdump -d "$BUILD"/runtime/softgpu/op/*.o >"$TMPDIR/err"
    expect "$newer" err # or the pattern finds nothing anywhere
    result 'what runs before the processor is looked at is for every processor'
fi

finish
