#!/bin/bash
# Set-up of a Debian or Ubuntu machine: tests/setup.sh build [test] [lint] [fuzz]
# Looks for the CUDA toolkit; then installs the packages of these groups that are missing, and nothing when none is. All that it takes
# itself is a Debian without extras (debootstrap --variant=minbase) with make, which calls it.
set -u

# package, and a header, a command (with "!") or a file (with its path) that shows that it is there
declare -A needs=(
    [build]="build-essential !gcc
libsqlite3-dev sqlite3.h
libjansson-dev jansson.h
libcyaml-dev cyaml/cyaml.h
libyaml-dev yaml.h
libxxhash-dev xxhash.h
libzstd-dev zstd.h
libmd-dev sha2.h
sqlite3 !sqlite3
gnuplot-nox !gnuplot"
    [test]="libcmocka-dev cmocka.h
procps !pgrep
locales /usr/share/i18n/locales/de_DE
python3 !python3
python3-numpy /usr/lib/python3/dist-packages/numpy/__init__.py
libopenblas0-pthread /usr/lib/*-linux-gnu/libopenblas.so.0
liblapacke /usr/lib/*-linux-gnu/liblapacke.so.3"
    [lint]="clang !clang
clang-format !clang-format
clang-tidy !clang-tidy
cppcheck !cppcheck
shellcheck !shellcheck
pyflakes3 !pyflakes3"
    [fuzz]="clang !clang
libclang-rt-dev /usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer-$(uname -m).a")

say() { echo "setup: $*" >&2; }

present() { # probe
    case $1 in
    !*) command -v "${1#!}" >/dev/null ;;
    /*) compgen -G "$1" >/dev/null ;;
    *) [ -e "/usr/include/$1" ] || [ -e "/usr/local/include/$1" ] || compgen -G "/usr/include/*-linux-gnu/$1" >/dev/null ;;
    esac
}

missing_packages() { # group... ; writes one package a line
    local group package probe
    for group in "$@"; do
        while read -r package probe; do
            present "$probe" || echo "$package"
        done <<<"${needs[$group]}"
    done
}

install_packages() { # package...
    local root=()
    if ! command -v apt-get >/dev/null; then
        say "these Debian packages, or what your system calls them, are needed and missing: $*"
        return 69
    fi
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || { say "root is needed to install what is missing: run 'apt-get update && apt-get install $*' as root, then this again"; return 69; }
        root=(sudo)
    fi
    say "installing $*"
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq update >&2
    local try
    for try in 1 2; do
        "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=120 \
            --no-install-recommends install "$@" >&2 && return 0
        [ "$try" = 2 ] || { say "apt-get failed; once more in 5 seconds"; sleep 5; }
    done
    say "could not install $*: see the messages of apt-get above"
    return 1
}

check_cuda() {
    local home=${CUDA_HOME:-/usr/local/cuda}
    if [ ! -e "$home/include/cuda.h" ] || [ ! -e "$home/include/nvrtc.h" ]; then
        say "no CUDA toolkit in $home: install package cuda-toolkit-13-0 from NVIDIA's repository (https://developer.nvidia.com/cuda-downloads; 12.4 and later will do), or set CUDA_HOME to the folder of one"
        return 69
    fi
}

# The toolkit first: it is not ours to install, and without it nothing else is of use.
check_cuda || exit
mapfile -t missing < <(missing_packages "$@")
if [ ${#missing[@]} -gt 0 ]; then
    install_packages "${missing[@]}" || exit
fi
