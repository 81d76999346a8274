# shellcheck shell=bash
# The path of a real device on the software device: libsoftgpu.so under the name of the driver, and stand-ins for the CUDA libraries. The tests
# that rehearse it source this. Nothing there is measured, and no database leaves a test's folder.
: "${BUILD:=build}"

real_library() { # source, file, further options
    local include
    include=$(dirname "$(find "${CUDA_HOME:-/usr/local/cuda}/include/" -name cublasLt.h | head -n 1)")
    cc -D_GNU_SOURCE -shared -fPIC -Wall -Wextra -Werror -isystem "$include" -Wl,-soname,"$(basename "$2")" -o "$2" "$1" "${@:3}" || exit 1
}

# real_libraries FOLDER: libcuda, libcublas, libcublasLt and libnvidia-ml.
real_libraries() {
    mkdir "$1"
    real_library tests/unit/gpu/fake_cuda.c "$1/libcuda.so.1" -Wl,--no-as-needed -L"$BUILD" -lsoftgpu -Wl,-rpath,"$(realpath "$BUILD")"
    real_library tests/unit/gpu/fake_cublas.c "$1/libcublas.so.13"
    real_library tests/unit/gpu/fake_cublas.c "$1/libcublasLt.so.13"
    real_library tests/unit/gpu/fake_nvml.c "$1/libnvidia-ml.so.1"
}

# real_device FILE: what is launched outside events is executed here, so few sets of small operands.
real_device() { sed 's/^l2_kib: *[0-9]*/l2_kib: 16/; s/^name: .*/name: "rehearsal"/' configs/devices/a100-sxm-80g.yaml >"$1"; }

# real_space FILE: two configurations.
real_space() {
    cat >"$1" <<'YAML'
family: sm80
values:
  tile_n: [64]
  tile_m: [8]
  stages: [3, 4]
YAML
}
