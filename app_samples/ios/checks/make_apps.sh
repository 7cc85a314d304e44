#!/usr/bin/env bash
# The sample with each of the demo builds in it, as a user gets it: make_apps.sh CHECKS_FOLDER
# PYTHON names an interpreter with mnv2-export installed. The apps lie in CHECKS_FOLDER/ios/apps.
set -euo pipefail
work=${1:?a folder}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)
mkdir -p "$work/ios"
bash "$root/app_samples/demo_builds.sh" "$work/builds"
rm -rf "$work/ios/apps"
for build in classification detection detection_nms segmentation segmentation_labels; do
  (cd "$root" && OMP_NUM_THREADS=1 "$PYTHON" -m exporter sample ios \
    --from "$work/builds/$build" --out "$work/ios/apps/$build") > "$work/ios/sample.log" 2>&1 ||
    { cat "$work/ios/sample.log"; exit 1; }
done
