#!/usr/bin/env bash
# sysroot.sh FOLDER: unpacks the ARM64 packages that the runner is linked with into a new FOLDER;
# the system and its list of architectures stay as they are.
set -euo pipefail
folder=$1
state=$(mktemp -d)
trap 'rm -rf "$state"' EXIT
mkdir -p "$folder" "$state/lists/partial" "$state/cache/archives/partial" "$state/debs"
: > "$state/status"
apt=(apt-get -q -o Dir::State="$state" -o Dir::State::status="$state/status"
  -o Dir::State::lists="$state/lists" -o Dir::Cache="$state/cache"
  -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Sandbox::User="$(id -un)")
"${apt[@]}" update
cd "$state/debs"
"${apt[@]}" download libpng-dev libjpeg62-turbo-dev zlib1g-dev nlohmann-json3-dev
for package in *.deb; do dpkg -x "$package" "$folder"; done
touch "$folder/complete"
