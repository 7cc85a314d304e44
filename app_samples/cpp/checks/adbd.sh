#!/usr/bin/env bash
# adbd.sh FOLDER: unpacks Debian 13's adbd and every library that it needs, its C library included,
# into a new FOLDER; Debian 12 has none. The system stays as it is.
set -euo pipefail
folder=$1
state=$(mktemp -d)
trap 'rm -rf "$state"' EXIT
mkdir -p "$folder" "$state/lists/partial" "$state/cache/archives/partial"
: > "$state/status"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" \
  "http://deb.debian.org/debian trixie main" > "$state/sources.list"
apt=(apt-get -q -o Dir::State="$state" -o Dir::State::status="$state/status"
  -o Dir::State::lists="$state/lists" -o Dir::Cache="$state/cache"
  -o Dir::Etc::sourcelist="$state/sources.list" -o Dir::Etc::sourceparts=/dev/null
  -o APT::Architecture=amd64 -o APT::Architectures=amd64 -o APT::Sandbox::User="$(id -un)")
"${apt[@]}" update
"${apt[@]}" install -y --no-install-recommends --download-only adbd
for package in "$state"/cache/archives/*.deb; do dpkg -x "$package" "$folder"; done
touch "$folder/complete"
