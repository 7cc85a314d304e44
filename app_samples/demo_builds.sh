#!/usr/bin/env bash
# The builds that the samples' checks run, made once: demo_builds.sh FOLDER
set -euo pipefail
folder=${1:?a folder}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

# Checks that start together make them once: the second one waits, then finds them.
exec 9>"$folder/.lock"
flock 9

made() { # NAME ARGUMENTS...
  local name=$1
  shift
  [ -d "$folder/$name" ] && return
  (cd "$folder" && OMP_NUM_THREADS=1 "$python" -m exporter build --quiet --out "$name.partial" \
    -t android -t onnx -t ios "$@")
  mv "$folder/$name.partial" "$folder/$name" # only whole builds: a target may have failed
  echo "built $name"
}

made classification -p int8 -p fp32
made detection --demo detection -p int8 -p fp32
made segmentation --demo segmentation -p int8 -p fp32
made detection_nms --demo detection --nms graph -p int8 -p fp32
made segmentation_labels --demo segmentation --outputs labels
