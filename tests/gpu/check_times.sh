# shellcheck shell=bash disable=SC2034,SC2153,SC2154 # others set and read these
# Limits, sweeps, samples, finals and the kernels of others. check.sh sources this.

# Limits that were found are kept, whatever becomes of the others.
probe() {
    step "probe the device's limits" 45 "$mixtune" probe --device "$device" --db "$db" --timeout $((2 * patience))s --quiet
    touch "$state/probed"
}

# ---- sweeps ----

sweeping=0 resting=0 # milliseconds of sweeps in the second part, and when that began

# What a sweep says of the time limit, of libraries that are missing and of samples that were thrown away.
remarks() {
    while read -r line; do
        echo "        ($line)" | tee -a "$state/steps"
    done < <(sed -n 's/^mixtune: \(stopped at the time limit.*\|warning: .*\)/\1/p' "$said" | sort -u | head -n 8)
}

# sweep NAME SECONDS DATABASE OPTIONS...: of the families that are kept
sweep() {
    local name=$1 seconds=$2 into=$3 code start
    shift 3
    signal=INT also=75
    tick
    start=$now
    step "$name" "$seconds" "$mixtune" sweep --device "$device" --db "$into" --timeout "${patience}s" --time-limit $((seconds - 8))s "$@"
    code=$?
    signal=TERM also=0
    tick
    sweeping=$((sweeping + now - start))
    remarks
    return $code
}

# Seconds that the budget has for a long step. False, and told, if that is too little.
time_for() { # name; sets $seconds
    look
    seconds=$((left - reserve))
    [ "$stopped" = 0 ] || return 1
    [ "$seconds" -ge 15 ] && return
    skip "$1" "no time is left"
    return 1
}

# Up to so many candidates of each problem, those first that the modelled times promise most of: a whole table exists before any problem
# gets more.
sweep_to() { # candidates of each problem
    local name="sweep, up to $1 of each problem" space seconds
    spaces quick
    [ -n "$space" ] || { skip "$name" "no family of kernels is left"; return; }
    time_for "$name" || return
    sweep "$name" "$seconds" "$db" "${sweep_work[@]}" --space "$space" --quick --strategy guided --max-configs "$1" --finals 0 || return
    grep -q 'stopped at the time limit' "$said" || echo "$1" >"$state/swept"
    libraries
}

# A table whose baseline is not cuBLAS must not pass for one: what the sweep warned of is a step that failed.
libraries() {
    [ "$origin" = measured ] && [ ! -e "$state/libraries" ] || return 0
    touch "$state/libraries"
    while read -r line; do
        settle failed "cuBLAS, cuBLASLt and the gate" 0 "$line"
    done < <(grep -hE 'is no baseline|low clock is not noticed' "$said" | sort -u | cut -c -300)
}

# A few problems with candidates drawn at random from the whole spaces: only these say how well the model ranks. A database of their own,
# for among the favourites of a search the correlation would be another.
samples() {
    local work_of line space seconds
    spaces whole
    [ -n "$space" ] || return
    time_for "samples" || return
    [ ! -e "$modelled-sample.db" ] || take_in "$modelled-sample.db" "$state/sample.db"
    for line in "${sample_work[@]}"; do
        read -ra work_of <<<"$line"
        time_for "sample: $line" || return
        [ "$seconds" -le 30 ] || seconds=30
        sweep "sample: ${line#*layers }" "$seconds" "$state/sample.db" "${work_of[@]}" --space "$space" --quick --strategy sample --seed 1 \
            --max-configs "$drawn" --finals 0
    done
}

# The best of each problem in turns. Nothing more is measured before: the searches have had what they may.
finals() {
    local space seconds rounds=()
    spaces quick
    [ -n "$space" ] && time_for "finals" || return
    [ "$origin" = measured ] || rounds=(--finals 3) # modelled times do not vary
    sweep "finals, in turns" "$seconds" "$db" "${sweep_work[@]}" --space "$space" --quick --strategy guided --max-configs 1 "${rounds[@]}"
}

# ---- peers ----

peers() { # seconds
    if ! has_torch; then
        skip "peers" "python3 has no PyTorch that can be imported (the log says why)"
    elif [ ! -e "$here/peers.py" ]; then
        skip "peers" "peers.py is not beside $0"
    elif [ "$origin" = measured ]; then
        signal=INT also=75
        step "peers" $(($1 + 10)) env LD_LIBRARY_PATH="$python_path" python3 "$here/peers.py" --mixtune "$mixtune" \
            --mixtune-env LD_LIBRARY_PATH="${LD_LIBRARY_PATH-}" --device "$device" "${peer_work[@]}" --budget "$1s" --out "$state/peers.json"
        signal=TERM also=0
    else
        step "peers, their numbers alone" "$1" env LD_LIBRARY_PATH="$python_path" python3 "$here/peers.py" --rehearse "${peer_work[@]}" \
            --out "$state/peers.json"
    fi
    [ ! -s "$state/peers.json" ] || [ "$origin" = modelled ] ||
        step "take in the peers" 20 "$mixtune" merge --quiet --into "$db" "$state/peers.json"
}
