#!/usr/bin/env bash
# MNV2Core built and tested with Debian's Swift, warnings as errors, and the app type-checked against
# stand-ins for Apple's frameworks (which say nothing of how those behave): swift_on_linux.sh
#
# Not part of the checks of every run: it installs Debian trixie and its swiftlang 6.0.3 (3 GB on
# disk) below MNV2_CHECKS, or in the folder that MNV2_SWIFT_ROOT names, and needs root, debootstrap
# and some minutes for that once. The mirror is the one that this machine's apt uses;
# MNV2_DEBIAN_MIRROR names another, where this is no Debian.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
sample=$(dirname "$here")
root=$(cd "$here/../../.." && pwd)
export PYTHON=${PYTHON:-$root/.venv/bin/python}
work=${MNV2_CHECKS:-$root/app_samples/.checks}
mkdir -p "$work"
work=$(cd "$work" && pwd)
system=${MNV2_SWIFT_ROOT:-$work/swift_root}
packages=(swiftlang libc6-dev libstdc++-14-dev)

[ "$(id -u)" -eq 0 ] || { echo "needs root, for chroot"; exit 1; }

if [ ! -e "$system/usr/libexec/swift/bin/swift" ]; then
  command -v debootstrap > /dev/null || { echo "debootstrap is missing: install it"; exit 1; }
  mirror=${MNV2_DEBIAN_MIRROR:-$(apt-get indextargets --format '$(ORIGIN) $(SITE)' \
    | sed -n 's/^Debian //p' | head -n 1)}
  [ -n "$mirror" ] || { echo "no Debian mirror in apt's sources: set MNV2_DEBIAN_MIRROR"; exit 1; }
  mkdir -p "$system"
  [ -z "$(ls -A "$system")" ] || { echo "$system: not empty, has no Swift; remove it"; exit 1; }
  echo "installing Swift in $system"
  { debootstrap --variant=minbase trixie "$system" "$mirror" &&
    chroot "$system" apt-get install -y --no-install-recommends "${packages[@]}"; } \
    > "$work/swift_root.log" 2>&1 || { tail -n 30 "$work/swift_root.log"; exit 1; }
fi

# In a namespace of mounts of its own, which ends with the command: Swift finds its libraries by
# /proc.
inside() {
  unshare --mount bash -c 'mount --bind /proc "$0/proc" && mount --bind /dev "$0/dev" &&
    exec chroot "$0" bash -euc "$1"' "$system" "$1"
}

bash "$here/make_apps.sh" "$work"
home=$system/mnv2
mkdir -p "$home"
find "$home" -mindepth 1 -maxdepth 1 ! -name build -exec rm -rf {} +
cp -r "$sample/MNV2Core" "$home/core"
cp -r "$sample/App/Sources" "$home/app"
cp -r "$here/stand_ins" "$here/swift-format.json" \
  "$work/ios/apps/classification/App/Sources/ModelContract.swift" "$home/"
OMP_NUM_THREADS=1 PYTHONPATH=$root "$PYTHON" "$here/make_fixtures.py" "$home/fixtures" \
  "$work"/ios/apps/*

log=$work/swift.log
tested() { # NAME COMMAND
  inside "$2" > "$log" 2>&1 || { cat "$log"; echo "$1: failed"; exit 1; }
  echo "$1: $(grep -E 'Build complete|Executed|warnings' "$log" | tail -n 1 | xargs)"
}

inside 'swift --version 2>&1 | head -n 1'
options='--package-path /mnv2/core --scratch-path /mnv2/build'
options+=' -Xswiftc -warnings-as-errors'
tested "swift build -c release" "swift build -c release $options"
tested "swift test" "MNV2_FIXTURES=/mnv2/fixtures swift test $options"
grep -q 'skipped' "$log" && { grep 'skipped' "$log"; echo "tests were skipped"; exit 1; }
tested "type check of App/Sources" '
  cd /mnv2
  mkdir modules
  module() {
    swiftc -emit-module -parse-as-library -I modules -module-name "$1" \
      -emit-module-path "modules/$1.swiftmodule" "${@:2}"
  }
  module MNV2Core -swift-version 6 core/Sources/MNV2Core/*.swift
  for name in CoreGraphics ImageIO Accelerate CoreVideo CoreML Vision SwiftUI PhotosUI; do
    module "$name" -swift-version 5 "stand_ins/$name.swift"
  done
  swiftc -typecheck -parse-as-library -swift-version 6 -warnings-as-errors -I modules \
    -module-name MNV2App $(find app -name "*.swift") ModelContract.swift stand_ins/Thermal.swift
  echo "Swift 6 mode, no errors, no warnings, against stand-ins"'
tested "format of every source" '
  cd /mnv2
  swift format lint --strict --configuration swift-format.json --recursive core app
  echo "no warnings of swift-format"'
