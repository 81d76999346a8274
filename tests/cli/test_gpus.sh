#!/bin/bash
# Two types of GPU in one database, and in one bundle: swept on both software devices, exported once, opened on each.
set -u
export MIXTUNE_LOG=info
. tests/cli/cases.sh
work=$TMPDIR
db=$work/both.db
ampere='A100-SXM-80G (software device, modelled times)'
hopper='H100-SXM (software device, modelled times)'

sweep() { # database, device
    run 0 "$MIXTUNE" sweep --device "soft:$2" --quick --quiet --max-configs 1 --db "$1" --shape 9,64,128 --scheme w4a8
}
lines() { # count, pattern in the output
    [ "$(grep -cF -- "$2" "$work/out")" = "$1" ] || verdict+=" not $1 times '$2' in the output; "
}
says() { # words, file
    untold=1
    grep -qF -- "$1" "$work/$2" || verdict+=" no '$1' in $2; "
}
refused() { # code, words, options of export
    run "$1" "$MIXTUNE" export --out "$work/x" -q "${@:3}"
    says "$2" err
    [ ! -e "$work/x" ] || verdict+=' it was written all the same; '
}
asks() { # bundle, SQL, answer
    local said
    said=$(sqlite3 "$1" "$2" | xargs)
    [ "$said" = "$3" ] || verdict+=" '$said' and not '$3' for: $2; "
}
dispatch() { # device, its compute capability, bundle
    local own
    own=$(sqlite3 "$work/both.mixtune" "SELECT config FROM entry JOIN layer ON layer.id = layer JOIN fingerprint f ON f.id = layer.gpu WHERE cc = $2 LIMIT 1")
    run 0 env MIXTUNE_DEVICE="soft:$1" SOFTGPU_DEVICE="$1" "$BUILD/example/dispatch" "$work/$3.mixtune"
    says "$own" out
    expect ': good$' out
}

sweep "$db" a100-sxm-80g
sweep "$db" h100-sxm
run 0 "$MIXTUNE" export --db "$db" --out "$work/both.mixtune"
lines 1 "both.mixtune: 1 winners of 1 layers on $ampere (modelled)"
lines 1 "both.mixtune: 1 winners of 1 layers on $hopper (modelled)"
lines 1 "SHA-256 $(sha256sum "$work/both.mixtune" | cut -d' ' -f1)"
asks "$work/both.mixtune" "SELECT group_concat(cc) FROM fingerprint" 80,90
asks "$work/both.mixtune" "SELECT count(*) FROM layer" 2
asks "$work/both.mixtune" "SELECT count(DISTINCT image) > 1 FROM entry JOIN layer ON layer.id = layer" 1
result 'a database of two types of GPU makes one bundle'

run 0 "$MIXTUNE" export --db "$db" --out "$work/json.mixtune" --json -q
[ "$(jq -r .gpu "$work/out" 2>/dev/null | xargs)" = "$ampere $hopper" ] || [ "$(grep -c '"gpu":' "$work/out")" = 2 ] || verdict+=' not a line for each; '
run 0 "$MIXTUNE" export --db "$db" --out "$work/one.mixtune" --gpu h100 -q
asks "$work/one.mixtune" "SELECT group_concat(cc) FROM fingerprint" 90
result '--gpu takes one of them'

dispatch a100-sxm-80g 80 both
dispatch h100-sxm 90 both
result 'each device is served from it, with its own kernels'

# Bundles join, too: where the databases cannot, for another NVRTC say.
run 0 "$MIXTUNE" export --db "$db" --out "$work/ampere.mixtune" --gpu a100 -q
run 0 "$MIXTUNE" export --db "$db" --out "$work/joined.mixtune" --gpu h100 --with "$work/ampere.mixtune"
lines 1 "1 winners of 1 layers on $hopper (modelled)"
lines 1 "on $ampere (modelled), "
lines 1 "from $work/ampere.mixtune"
for bundle in both joined; do
    sqlite3 "$work/$bundle.mixtune" "SELECT g.cc, l.name, l.n, e.m, e.config, e.image FROM fingerprint g JOIN layer l ON l.gpu = g.id JOIN entry e ON e.layer = l.id ORDER BY 1, 2, 3, 4;
        SELECT hash FROM image ORDER BY hash" >"$work/$bundle.rows"
done
cmp -s "$work/both.rows" "$work/joined.rows" || verdict+=' they differ; '
dispatch a100-sxm-80g 80 joined
result 'a bundle with another bundle is what a database of both makes'

refused 64 "ampere.mixtune has winners on $ampere, and so has the database: leave one of them out" --db "$db" --with "$work/ampere.mixtune"
refused 1 "cannot open $work/none.mixtune" --db "$db" --with "$work/none.mixtune"
run 0 "$MIXTUNE" export --db "$db" --out "$work/bare.mixtune" --gpu h100 --with "$work/ampere.mixtune" --no-images -q
asks "$work/bare.mixtune" "SELECT count(*) FROM image" 0
result 'the same type comes once'

# Measured times and modelled ones: only if somebody asks for both.
cp "$db" "$work/mixed.db"
sqlite3 "$work/mixed.db" "UPDATE device SET name = 'NVIDIA H100', software = 0 WHERE name LIKE 'H100%';
    UPDATE measurement SET origin = 'measured' WHERE run IN (SELECT id FROM run WHERE device = (SELECT id FROM device WHERE name = 'NVIDIA H100'))"
run 0 "$MIXTUNE" export --db "$work/mixed.db" --out "$work/measured.mixtune"
says "the winners on $ampere are left out: their times are modelled, and others are measured" err
lines 1 'on NVIDIA H100 (measured)'
asks "$work/measured.mixtune" "SELECT group_concat(gpu) FROM fingerprint" 'NVIDIA H100'
run 0 "$MIXTUNE" export --db "$work/mixed.db" --out "$work/mixed.mixtune" --modelled
lines 1 'on NVIDIA H100 (measured)'
lines 1 "on $ampere (modelled)"
says "the winners on $ampere are chosen by modelled times" err
asks "$work/mixed.mixtune" "SELECT group_concat(software) FROM (SELECT software FROM fingerprint ORDER BY 1)" 0,1
refused 64 "the times on NVIDIA H100 are measured and those on $ampere modelled: --modelled puts both into one bundle" --db "$work/mixed.db" --with "$work/ampere.mixtune"
result 'measured and modelled times do not meet unasked'
finish
