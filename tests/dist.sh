#!/bin/bash
# Finishes and checks the relocatable archive: tests/dist.sh NAME
# $BUILD/NAME holds an installation; it gets its notices, is stripped, packed to $BUILD/NAME.tar.gz, unpacked elsewhere and tried.
set -eu
name=$1
root=$(realpath "$BUILD/$name")

cp README.md LICENSE "$root"
mkdir -p "$root/share/doc/licences"
for package in libsqlite3-dev libjansson-dev libcyaml-dev libyaml-dev libxxhash-dev libzstd-dev libmd-dev; do
    cp "/usr/share/doc/$package/copyright" "$root/share/doc/licences/${package%-dev}"
done
# A program linked against the archive finds its library by rpath, so the prefix in the pkg-config file is relative too.
sed -i "s|^prefix=.*|prefix=\${pcfiledir}/../..|" "$root/lib/pkgconfig/mixtune.pc"
programs=("$root"/bin/mixtune "$root"/libexec/{compare,dispatch,serve} "$root"/lib/lib*.so)
strip --strip-unneeded "${programs[@]}"

for library in libcyaml.so.1 libyaml-0.so.2; do
    cp -L "$(gcc -print-file-name="$library")" "$root/lib"
done
for file in "${programs[@]}"; do
    if ldd "$file" | grep -vE 'linux-vdso|ld-linux|lib(c|m|dl|pthread)\.so' | grep -vF "$(realpath "$root")/"; then
        echo "$file needs the libraries above: link them in" >&2
        exit 1
    fi
done

tar -C "$BUILD" -czf "$BUILD/$name.tar.gz" "$name"
elsewhere=$(mktemp -d)
trap 'rm -rf "$elsewhere"' EXIT
tar -C "$elsewhere" -xzf "$BUILD/$name.tar.gz"
cd "$elsewhere"
env -i HOME="$elsewhere" PATH=/usr/bin:/bin "$name/bin/mixtune" info --device soft:a100-sxm-80g >info.txt ||
    { echo "the unpacked archive does not run" >&2; exit 1; }
if strings -a "$name"/bin/mixtune "$name"/libexec/{compare,dispatch,serve} "$name"/lib/lib*.so | grep -F "$OLDPWD"; then
    echo "the archive names the folder that it was built in" >&2
    exit 1
fi
# What a machine with a GPU runs.
env -i HOME="$elsewhere" PATH=/usr/bin:/bin ${CUDA_HOME:+CUDA_HOME="$CUDA_HOME"} "$name/libexec/compare" --kernels "$name/libexec" \
    --device soft:a100-sxm-80g --against soft:a100-sxm-80g --only mma_s8 >compare.txt || { cat compare.txt; exit 1; }
echo "dist: $BUILD/$name.tar.gz ($(du -h "$OLDPWD/$BUILD/$name.tar.gz" | cut -f1)) unpacks and runs"
