#!/usr/bin/env bash
# Makes apps with `mnv2-export sample cpp`, builds them on this machine (x86-64 Linux) with two
# versions of CMake and for ARM64, and compares all of them with Python. Everything that it writes
# is in $MNV2_CHECKS.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
export PYTHON=${PYTHON:-$root/.venv/bin/python}
export MNV2_CHECKS=${MNV2_CHECKS:-$root/app_samples/.checks}
export OMP_NUM_THREADS=1
mkdir -p "$MNV2_CHECKS"
MNV2_CHECKS=$(cd "$MNV2_CHECKS" && pwd)
work=$MNV2_CHECKS/cpp
downloads=$MNV2_CHECKS/downloads
log=$work/log.txt
arm=$work/arm64

"$PYTHON" -c "import exporter, executorch" 2> /dev/null \
  || { echo "$PYTHON has not this project installed; set PYTHON"; exit 1; }
for tool in g++ ninja aarch64-linux-gnu-g++ qemu-aarch64-static adb unshare apt-get dpkg; do
  command -v "$tool" > /dev/null \
    || { echo "$tool is missing; app_samples/cpp/apt-packages.txt lists the packages"; exit 1; }
done

say() { echo "cpp: $1 ($SECONDS s)"; }
quietly() { "$@" > "$log" 2>&1 || { tail -40 "$log"; echo "failed: $*"; exit 1; }; }

fetch() { # REQUIREMENTS FOLDER [PIP OPTIONS]: what pip downloads and checks, unpacked once
  local requirements=$1 folder=$2
  shift 2
  if ! cmp -s "$requirements" "$folder/requirements.txt"; then
    rm -rf "$folder" "$folder.wheels"
    quietly "$PYTHON" -m pip download --require-hashes --only-binary=:all: --no-deps \
      "$@" --dest "$folder.wheels" -r "$requirements"
    quietly "$PYTHON" -m zipfile -e "$folder.wheels"/*.whl "$folder"
    chmod -R u+x "$folder"
    rm -rf "$folder.wheels"
    cp "$requirements" "$folder/requirements.txt"
  fi
}

unpack() { # SCRIPT FOLDER: what a script of packages lays into a folder, once
  if [ ! -f "$2/complete" ]; then
    rm -rf "$2"
    quietly bash "$1" "$2"
  fi
}

compile() { # CMAKE SOURCE BUILD [OPTIONS]
  local cmake=$1 source=$2 build=$3
  shift 3
  quietly "$cmake" -G Ninja -S "$source" -B "$build" -DPython3_EXECUTABLE="$PYTHON" \
    -DCMAKE_COMPILE_WARNING_AS_ERROR=ON "$@"
  quietly "$cmake" --build "$build"
}

make_app() { # NAME [OPTIONS OF SAMPLE]: the one app is given another model, rebuilt and kept
  local name=$1
  shift
  quietly "$PYTHON" -m exporter sample cpp --from "$MNV2_CHECKS/builds/${name%-fp32}" \
    --out "$work/app" "$@"
  compile "$cmake_old" "$work/app" "$work/app/build"
  cp -r "$work/app" "$work/apps/$name"
}

mkdir -p "$work" "$downloads"
bash "$root/app_samples/demo_builds.sh" "$MNV2_CHECKS/builds" || { echo "no demo builds"; exit 1; }
fetch "$here/checks/cmake-old.txt" "$downloads/cmake-old"
fetch "$here/checks/cmake-new.txt" "$downloads/cmake-new"
fetch "$here/checks/executorch-arm64.txt" "$downloads/executorch-arm64" \
  --platform manylinux_2_28_aarch64 --python-version 3.11 --implementation cp --abi cp311
unpack "$here/sysroot.sh" "$downloads/sysroot-arm64"
unpack "$here/checks/adbd.sh" "$downloads/adbd"
cmake_old=$downloads/cmake-old/cmake/data/bin/cmake
cmake_new=$downloads/cmake-new/cmake/data/bin/cmake
say "builds and tools are there"

rm -rf "$work/app" "$work/apps" "$work/checks" "$work/plain" "$arm"
mkdir -p "$work/apps"
make_app classification
for name in detection segmentation detection_nms segmentation_labels; do
  make_app "$name" --update
done
for name in classification-fp32 detection-fp32 segmentation-fp32; do
  make_app "$name" --update --precision fp32
done
say "apps of 8 models built with CMake 3.25, warnings as errors"

compile "$cmake_new" "$here/checks" "$work/checks" -DMNV2_SANITIZE=ON \
  -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS=-O1
compile "$cmake_old" "$here" "$work/plain" -DMNV2_JPEG=OFF -DMNV2_PNG=OFF \
  -DCMAKE_BUILD_TYPE=Debug
compile "$cmake_old" "$here" "$arm" -DMNV2_SYSROOT="$downloads/sysroot-arm64" \
  -DCMAKE_TOOLCHAIN_FILE="$here/cmake/aarch64-linux-gnu.cmake" \
  -Dexecutorch_DIR="$downloads/executorch-arm64/executorch/share/cmake"
say "built with sanitizers and CMake 4, without image libraries, and for ARM64"

pack() { # ABI RUNNER PACKAGE
  quietly bash "$here/bundle.sh" --abi "$1" --runner "$2" --executorch "$3" \
    --out "$work/bundles/$1.tgz"
}
package=$("$PYTHON" -c 'import executorch; print(*executorch.__path__)')
pack x86_64 "$work/plain/mnv2_runner" "$package"
pack arm64-v8a "$arm/mnv2_runner" "$downloads/executorch-arm64/executorch"
say "packed for phones"

(cd "$root" && "$PYTHON" -m pytest -q -p no:cacheprovider -n 2 --dist loadfile \
  app_samples/cpp/checks)
cat "$arm/differences.txt"
say "done"
