#!/usr/bin/env bash
# What can be checked of the iOS sample in every run, without a Mac and without Swift: its sources
# parse, its project names files that exist, it decodes fields that manifests have, and the models
# pass the self-test that it replays, by the reference evaluator. checks/swift_on_linux.sh goes
# further: it compiles and tests MNV2Core with Debian's Swift.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
export PYTHON=${PYTHON:-$root/.venv/bin/python}
work=${MNV2_CHECKS:-$root/app_samples/.checks}
mkdir -p "$work/downloads"
work=$(cd "$work" && pwd)

bash "$here/checks/make_apps.sh" "$work"
echo "made the app with five builds"

grammar=$work/downloads/swift_grammar
wanted=$(cat "$here/checks/requirements.txt"; "$PYTHON" -V)
if [ "$(cat "$grammar/made_of" 2> /dev/null || true)" != "$wanted" ]; then
  rm -rf "$grammar"
  "$PYTHON" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
    --only-binary :all: --target "$grammar" -r "$here/checks/requirements.txt" \
    > "$work/ios/pip.log" 2>&1 || { cat "$work/ios/pip.log"; exit 1; }
  printf '%s\n' "$wanted" > "$grammar/made_of"
fi

cd "$root"
OMP_NUM_THREADS=1 MNV2_IOS_APPS=$work/ios/apps PYTHONPATH=$grammar \
  "$PYTHON" -m pytest -q -p no:cacheprovider app_samples/ios/checks
