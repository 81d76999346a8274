# shellcheck shell=bash disable=SC2034,SC2153,SC2154 # others set and read these
# What the machine has: libraries, the device, PyTorch. check.sh sources this.

# Folders that the loader may not know by itself: a toolkit's, a container's driver, and those of Python packages.
find_libraries() {
    local nvcc folder folders=()
    nvcc=$(command -v nvcc) && folders+=("$(dirname "$(dirname "$(realpath "$nvcc")")")")
    for folder in "${CUDA_HOME:-}" "${folders[@]}" /usr/local/cuda /usr/local/cuda-1[3-9]* /usr/local/cuda-12*; do
        compgen -G "$folder/lib64/libnvrtc.so.1[23]" >/dev/null || continue
        export CUDA_HOME=$folder LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$folder/lib64
        break
    done
    while read -r folder; do
        export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$folder
    done < <(compgen -G '/usr/local/nvidia/lib*/libcuda.so.1' | sed 's|/[^/]*$||'
        python3 -c 'import glob, sys
for path in sys.path:
    print("\n".join(glob.glob(path + "/nvidia/*/lib")))' 2>/dev/null | grep .)
}

describe() {
    local code
    echo "$ $mixtune info --device $device"
    "$mixtune" info --device "$device"
    code=$?
    echo "$(uname -srm), $(nproc) cores, $(ldd --version 2>&1 | head -n 1); CUDA_HOME ${CUDA_HOME:-unset}, LD_LIBRARY_PATH ${LD_LIBRARY_PATH:-unset}"
    echo "images: ${MIXTUNE_IMAGES:-none}; archive or tree: $root"
    if [[ $device == cuda* ]]; then
        ls -l /dev/nvidia* 2>&1
        ldconfig -p 2>/dev/null | grep -E 'lib(cuda|nvrtc|cublas|cublasLt|nvidia-ml|nvidia-ptxjitcompiler)\.so'
        env | grep -E '^(CUDA|NVIDIA|LD_|PYTHON|TRITON)' | sort
        ! command -v nvidia-smi >/dev/null || nvidia-smi -q -d CLOCK,POWER,TEMPERATURE,PERFORMANCE,ECC
        ! command -v nvcc >/dev/null || nvcc --version | tail -n 2
    fi
    return $code
}

# Without a device there is nothing to do: one sentence; where there is one that does not open, why_nothing_loads follows. Sets opens, gpu, cc,
# origin, model, the software device that stands for this one, and modelled, where the archive has that one's times.
describe_or_leave() {
    local code
    describe >"$work/info" 2>&1
    code=$?
    opens=1
    if [ "$code" != 0 ]; then
        grep -m 1 '^mixtune:' "$work/info" >&2
        [[ $device == cuda* ]] && [ -e /dev/nvidiactl ] || exit "$code"
        opens=0 gpu="a GPU that does not open" cc=0 origin=measured pace=1 model=none modelled=none described=$now
        return
    fi
    gpu=$(sed -n 's/^device *[^ ]*: //p' "$work/info" | sed 's/ (times are modelled)$//')
    cc=$(sed -n 's/^ *compute capability \([0-9]*\)\.\([0-9]*\).*/\1\2/p' "$work/info")
    model=$(sed -n 's/^ *stand-in *\(soft:[^ ]*\).*/\1/p' "$work/info")
    modelled=$store/modelled/${model#soft:}
    tick
    described=$now
    origin=measured pace=1
    [[ $device != soft:* ]] || origin=modelled
    [ "$origin ${REHEARSE:-0}" = "measured 0" ] || pace=10 # a software device takes so many times longer
}

# The driver is not torn down between two of our processes while somebody has the device open.
hold_device() {
    local node=/dev/nvidia${device#cuda:}
    [[ $device == cuda:* ]] || return 0
    if [ -r "$node" ] && [ -w "$node" ]; then
        exec 9<>"$node"
    fi
}

# Python needs many seconds to import PyTorch for the first time.
look_for_torch() {
    torch=0
    timeout 90 env LD_LIBRARY_PATH="$python_path" python3 -c 'import torch; print("PyTorch", torch.__version__, "CUDA", torch.version.cuda)' \
        >"$work/torch" 2>&1 </dev/null &
    torch=$!
}
has_torch() {
    [ -n "${torch:-}" ] || look_for_torch
    [ "$torch" = 0 ] || { wait "$torch" 2>/dev/null && torch=0 || torch=missing; }
    cat "$work/torch" >>"$log"
    [ "$torch" = 0 ]
}

# Modelled times that guide, and that measured ones are compared with. In a rehearsal they would be its results.
take_in() { # modelled database, database
    [ -e "$1" ] && [ "$origin" = measured ] || return 0
    step "take in the modelled times of $model" 20 "$mixtune" merge --quiet --into "$2" "$1"
}

first_steps() {
    local times=none
    [ ! -e "$modelled.db" ] || times=$model
    settle ok "describe: $gpu" "$((described - began))e-3" "images: ${MIXTUNE_IMAGES:-none}, modelled times: $times"
    look_for_torch
    take_in "$modelled.db" "$db"
}
