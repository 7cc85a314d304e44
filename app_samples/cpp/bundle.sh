#!/usr/bin/env bash
# Makes what `mnv2-export profile --device adb` copies to a phone: the runner, ExecuTorch and the C
# library of Linux in one .tgz, since the wheels' libraries are not built for Android's own.
#
#   bash bundle.sh [--abi arm64-v8a|x86_64] [--out FILE] [--runner FILE --executorch PACKAGE]
#
# --abi         of the phone; x86_64 is for emulators and Chromebooks. Default: arm64-v8a
# --out         default: where profiles look for it, ~/.cache/mnv2-export/runners
# --runner      packs this executable instead of building one ...
# --executorch  ... with the libraries of this unpacked package
#
# Needs Python with mnv2-export (PYTHON names it) and, for arm64-v8a, Debian's packages cmake,
# ninja-build, g++-aarch64-linux-gnu and apt-get; for x86_64 cmake, ninja-build, g++, libpng-dev,
# libjpeg-dev and nlohmann-json3-dev.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-python3}
abi=arm64-v8a out='' runner='' package=''

fail() { echo "bundle.sh: $1" >&2; exit 1; }
while [ $# -gt 0 ]; do
  case $1 in -h | --help) sed -n '2,/^set /s/^# \{0,1\}//p' "$here/bundle.sh"; exit ;; esac
  [ $# -ge 2 ] || fail "$1 needs a value"
  case $1 in
    --abi) abi=$2 ;;
    --out) out=$2 ;;
    --runner) runner=$2 ;;
    --executorch) package=$2 ;;
    *) fail "unknown option $1" ;;
  esac
  shift 2
done
[ -z "$runner" ] || [ -n "$package" ] || fail "--runner needs --executorch"

case $abi in
  arm64-v8a)
    system=(/usr/aarch64-linux-gnu/lib) loader=ld-linux-aarch64.so.1
    strip=aarch64-linux-gnu-strip ;;
  x86_64)
    system=(/lib/x86_64-linux-gnu /usr/lib/x86_64-linux-gnu /lib64) loader=ld-linux-x86-64.so.2
    strip='strip' ;;
  *) fail "no bundle for $abi: arm64-v8a or x86_64" ;;
esac
for tool in "$strip" readelf tar "$python"; do
  command -v "$tool" > /dev/null || fail "$tool is missing"
done
version=$("$python" -c 'import importlib.metadata as m; print(m.version("executorch"))' 2> /dev/null) \
  || fail "$python has no executorch; activate mnv2-export's environment or set PYTHON"
out=${out:-${XDG_CACHE_HOME:-$HOME/.cache}/mnv2-export/runners/$version-$abi.tgz}

work=$(mktemp -d)
trap 'rm -rf "$work" "$out.$$"' EXIT
quietly() { "$@" > "$work/log" 2>&1 || { tail -30 "$work/log" >&2; fail "this failed: $*"; }; }

build() {
  local options=()
  if [ "$abi" = arm64-v8a ]; then
    local wheel="executorch==$version --no-deps --only-binary=:all: --implementation cp
      --platform manylinux_2_28_aarch64 --python-version 3.11 --abi cp311"
    # shellcheck disable=SC2086  # words of a command
    quietly "$python" -m pip download --dest "$work/wheel" $wheel
    quietly "$python" -m zipfile -e "$work"/wheel/*.whl "$work/package"
    quietly bash "$here/sysroot.sh" "$work/sysroot"
    package=$work/package/executorch
    options=(-DCMAKE_TOOLCHAIN_FILE="$here/cmake/aarch64-linux-gnu.cmake"
      -DMNV2_SYSROOT="$work/sysroot" -Dexecutorch_DIR="$package/share/cmake")
  else
    package=$("$python" -c 'import importlib.util as u
print(*u.find_spec("executorch").submodule_search_locations)')
    options=(-DPython3_EXECUTABLE="$(command -v "$python")")
  fi
  quietly cmake -G Ninja -S "$here" -B "$work/build" -DMNV2_PINNED=OFF "${options[@]}"
  quietly cmake --build "$work/build"
  runner=$work/build/mnv2_runner
}

needed() { readelf -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'; }

collect() { # FILE: it and every library that it needs, and those that these need
  local file=$1 name folder
  [ ! -e "$work/bundle/lib/$(basename "$file")" ] || return 0
  cp -L "$file" "$work/bundle/lib/"
  for name in $(needed "$file"); do
    for folder in "$package/lib" "${system[@]}" missing; do
      [ ! -e "$folder/$name" ] || break
    done
    [ "$folder" != missing ] || fail "$name, which $(basename "$file") needs, is not found"
    collect "$folder/$name"
  done
}

[ -n "$runner" ] || build
mkdir -p "$work/bundle/lib" "$(dirname "$out")"
collect "$runner"
collect "${system[-1]}/$loader"
[ "$(basename "$runner")" = mnv2_runner ] || mv "$work/bundle/lib/$(basename "$runner")" \
  "$work/bundle/lib/mnv2_runner"
chmod 755 "$work"/bundle/lib/*
"$strip" "$work"/bundle/lib/* 2> /dev/null || true # a loader that cannot be stripped stays whole
cat > "$work/bundle/run.sh" << END
here=\$(cd "\$(dirname "\$0")" && pwd)
exec "\$here/lib/$loader" --library-path "\$here/lib" "\$here/lib/mnv2_runner" "\$@"
END
# Equal contents give equal bytes.
tar -C "$work/bundle" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -c lib run.sh \
  | gzip -n > "$work/bundle.tgz"
cp "$work/bundle.tgz" "$out.$$" # nothing half-written under the final name
mv "$out.$$" "$out"
echo "$out"
