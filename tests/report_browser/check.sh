#!/usr/bin/env bash
# Writes reports of the demo builds, whole and damaged, and looks at them in Chromium: no request,
# no console message, no sideways scrolling, nothing that axe objects to. Needs node, npm and
# chromium. PYTHON, MNV2_CHECKS (work folder) and MNV2_REPORT_BUILDS (demo builds) may be set.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
export PYTHON=${PYTHON:-$root/.venv/bin/python}
checks=${MNV2_CHECKS:-$root/app_samples/.checks}
mkdir -p "$checks/report"
checks=$(cd "$checks" && pwd)
export MNV2_REPORT_WORK=$checks/report
builds=${MNV2_REPORT_BUILDS:-$checks/builds}
export OMP_NUM_THREADS=1
export npm_config_audit=false npm_config_fund=false npm_config_update_notifier=false
export npm_config_cache=$checks/downloads/npm

for tool in node npm chromium; do
  command -v "$tool" >/dev/null || { echo "report: $tool is missing: apt-get install chromium nodejs"; exit 1; }
done
MNV2_CHROMIUM=$(command -v chromium) && export MNV2_CHROMIUM

quietly() { # WHAT COMMAND...: one line when it went well, its whole output when not
  local log="$MNV2_REPORT_WORK/log.txt" start=$SECONDS
  if ! "${@:2}" >"$log" 2>&1; then
    cat "$log"
    echo "report: FAILED: $1"
    exit 1
  fi
  echo "report: $1 ($((SECONDS - start)) s)"
}

tools() { # the web sample's: playwright-core and axe-core
  mkdir -p "$MNV2_REPORT_WORK/tools"
  cp "$root"/app_samples/web/checks/package*.json "$MNV2_REPORT_WORK/tools/"
  (cd "$MNV2_REPORT_WORK/tools" && npm ci)
}

[ -n "${MNV2_REPORT_BUILDS:-}" ] || quietly "builds of the demo" bash "$root/app_samples/demo_builds.sh" "$builds"
quietly "tools" tools
quietly "reports" "$PYTHON" "$here/reports.py" "$builds" "$MNV2_REPORT_WORK"
quietly "in Chromium" node --test "$here/look.test.mjs"
echo "report: screenshots in $MNV2_REPORT_WORK/screenshots"
