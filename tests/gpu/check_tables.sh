# shellcheck shell=bash disable=SC2034,SC2153,SC2154 # others set and read these
# What comes of it: tables, plots, the bundle, and the summary that is printed last. check.sh sources this.

tables() {
    [ -e "$db" ] && [ "$stopped" = 0 ] || return 0
    reserve=0
    if [ "$origin" = modelled ]; then
        skip "correlate model and measurement" "nothing was measured: all times are modelled"
    elif [ ! -e "$modelled-sample.db" ]; then
        skip "correlate model and measurement" "there are no modelled times of $model in $store (make gpu-archive)"
    elif [ -e "$state/sample.db" ]; then
        "$mixtune" info --quiet --device "$model" 2>/dev/null | sed -n 's/^device *[^ ]*: //p' | sed 's/ (times are modelled)$//' >"$work/model"
        read -r line <"$work/model"
        step "correlate model and measurement" 20 "$mixtune" correlate --db "$state/sample.db" --gpu "$gpu" --model-device "$line" --quiet &&
            cp "$said" "$state/correlation"
    fi
    step "show" 10 "$mixtune" show --db "$db" --gpu "$gpu" --quiet
    step "show what did not work" 10 "$mixtune" show --db "$db" --gpu "$gpu" --failed
    [ ! -s "$state/peers.json" ] || [ "$origin" = modelled ] || step "show --peers" 10 "$mixtune" show --db "$db" --gpu "$gpu" --peers
    step "show --floor" 10 "$mixtune" show --db "$db" --gpu "$gpu" --floor
    report
    step "export" 30 "$mixtune" export --db "$db" --gpu "$gpu" --out "$state/check.mixtune" --quiet &&
        step "dispatch from what was exported" 30 "$dispatch" "$state/check.mixtune"
    # shellcheck disable=SC2016 # the inner shell's
    step "T4 file" 20 bash -c 'set -o pipefail; "$1" show --db "$2" --format t4 --quiet | gzip >"$3"' - "$mixtune" "$db" "$state/check.t4.json.gz"
}

report() {
    if command -v gnuplot >/dev/null; then
        step "report" 60 "$mixtune" report --db "$db" --gpu "$gpu" --out "$state/report" --quiet
    else
        skip "report" "there is no gnuplot here; where it is: mixtune report --db $(basename "$OUT")/check.db --out report"
    fi
}

publish_all() {
    local more=() file
    for file in peers.json sample.db report trace; do
        [ ! -e "$state/$file" ] || more+=("$file")
    done
    publish
    put "$state/check.mixtune" check.mixtune
    put "$state/check.t4.json.gz" check.t4.json.gz
    put "$state/report/index.html" report.html
    [ ${#more[@]} = 0 ] || { tar -C "$state" -czf "$work/more.tar.gz" "${more[@]}" && put "$work/more.tar.gz" more.tar.gz; }
}

# ---- the summary ----

# A cell of quoted CSV may hold commas; knobs that are off say nothing.
winners() { # file
    awk -v origin="$origin" '
        {
            n = split($0, part, "\"")
            $0 = part[1]
            for (i = 2; i <= n; i++) {
                if (i % 2 == 0) gsub(/,/, ";", part[i])
                $0 = $0 part[i]
            }
            n = split($0, cell, ",")
        }
        NR == 1 { for (i = 1; i <= n; i++) at[cell[i]] = i; next }
        cell[at["origin"]] != origin { next }
        {
            knobs = ";" cell[at["config"]]
            gsub(/;[a-z0-9_]+=0/, "", knobs)
            gsub(/;(blocks|cluster|cluster_k|ctas|split_k|raster|warps_m)=1/, "", knobs)
            sub(/^;/, "", knobs)
            gsub(/;/, ",", knobs)
            printf "%-8s %5d %-6s %-7s %10.2f %10.2f %-13s %8.2f %6.2f%s  %s %s\n", cell[at["layer"]], cell[at["m"]], cell[at["scheme"]],
                cell[at["cache_state"]], cell[at["median_ns"]] / 1000, cell[at["baseline_ns"]] / 1000, cell[at["baseline_family"]],
                cell[at["ratio_with_quantize"]], cell[at["ratio"]], cell[at["states_differ"]] == 1 ? "*" : "", cell[at["family"]], knobs
        }' "$1"
}

summary() {
    tick
    printf '%s: %s (%s times), %d s of %d\n' "$device" "$gpu" "$origin" $(((now - began) / 1000)) "$BUDGET"
    cat "$state/steps" 2>/dev/null
    [ "$resting" = 0 ] || echo "sweeps, samples and finals had $((sweeping * 100 / (now - resting))) % of the rest"
    [ -s "$state/winners.csv" ] || return 0
    [ "$origin" = measured ] || echo "MODELLED: the times below are modelled on a software device and no speed-up of a real GPU."
    echo "headline: with the time of quantising; ratio: without; *: the two sides had different states of the device"
    printf '%-8s %5s %-6s %-7s %10s %10s %-13s %8s %6s  %s\n' layer M scheme caches us fp16-us fp16-kernel headline ratio winner
    winners "$state/winners.csv"
    cat "$state/correlation" 2>/dev/null
    return 0
}
