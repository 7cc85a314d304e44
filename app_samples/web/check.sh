#!/usr/bin/env bash
# Makes web apps from the demo builds, installs and serves them as a user does, and compares what
# Chromium computes with Python. PYTHON and MNV2_CHECKS may name another Python and work folder.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
export PYTHON=${PYTHON:-$root/.venv/bin/python}
checks=${MNV2_CHECKS:-$root/app_samples/.checks}
mkdir -p "$checks/web"
checks=$(cd "$checks" && pwd)
export MNV2_WEB_WORK=$checks/web MNV2_WEB_BUILDS=$checks/builds
export MNV2_WEB_APP=$MNV2_WEB_WORK/apps/classification
export MNV2_WEB_FIXTURES=$MNV2_WEB_WORK/fixtures
export OMP_NUM_THREADS=1
MNV2_CHROMIUM=$(command -v chromium || true) && export MNV2_CHROMIUM
export npm_config_audit=false npm_config_fund=false npm_config_update_notifier=false
export npm_config_cache=$checks/downloads/npm

for tool in node npm chromium; do
  command -v "$tool" >/dev/null || { echo "web: $tool is missing: see apt-packages.txt"; exit 1; }
done
node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' ||
  { echo "web: the checks need Node 20 or newer, this is $(node --version)"; exit 1; }

quietly() { # WHAT COMMAND...: one line when it went well, its whole output when not
  local log="$MNV2_WEB_WORK/log.txt" start=$SECONDS
  if ! "${@:2}" >"$log" 2>&1; then
    cat "$log"
    echo "web: FAILED: $1"
    exit 1
  fi
  echo "web: $1 ($((SECONDS - start)) s)"
  grep -E ' 0 LSB |bytes differ|SwiftShader' "$log" | sed -E 's/^#? */  /' || true
}

make_app() { # NAME BUILD OPTIONS...
  (cd "$MNV2_WEB_WORK" && "$PYTHON" -m exporter sample web \
    --from "$MNV2_WEB_BUILDS/$2" --out "apps/$1" "${@:3}")
  # The first app is installed as its user does it; the others link to its files.
  if [ "$1" = classification ]; then
    (cd "$MNV2_WEB_APP" && npm ci)
  else
    cp -Rl "$MNV2_WEB_APP/public/vendor" "$MNV2_WEB_WORK/apps/$1/public/vendor"
  fi
}

make_apps() {
  rm -rf "$MNV2_WEB_WORK/apps" "$MNV2_WEB_WORK/screenshots"
  local task
  for task in classification detection segmentation; do
    make_app "$task" "$task"
    make_app "$task-fp32" "$task" --precision fp32
  done
  make_app detection_nms detection_nms
  make_app detection_nms-fp32 detection_nms --precision fp32
  make_app segmentation_labels segmentation_labels
}

prepare() {
  mkdir -p "$MNV2_WEB_WORK/tools"
  cp "$here"/checks/package*.json "$MNV2_WEB_WORK/tools/"
  (cd "$MNV2_WEB_WORK/tools" && npm ci)
  "$PYTHON" "$here/checks/fixtures.py" "$MNV2_WEB_FIXTURES"
  "$PYTHON" "$here/checks/photos.py" "$MNV2_WEB_WORK/photos"
}

quietly "builds of the demo" bash "$root/app_samples/demo_builds.sh" "$MNV2_WEB_BUILDS"
quietly "apps made and installed" make_apps
quietly "tools and fixtures" prepare
quietly "unit tests against Python's fixtures" node --test "$here"/checks/unit/*.test.mjs
quietly "serve.mjs" node --test "$here/checks/serve.test.mjs"
quietly "golden images and photos in Chromium" node --test "$here/checks/browser/numbers.test.mjs"
cd "$root"
quietly "the same in Python" "$PYTHON" -m pytest -q -rP -p no:cacheprovider "$here/checks"
quietly "states, offline, camera, accessibility" node --test "$here/checks/browser/states.test.mjs"
echo "web: screenshots in $MNV2_WEB_WORK/screenshots"
