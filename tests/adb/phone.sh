#!/usr/bin/env bash
# phone.sh ADBD PHONE STATE SPACE: a phone with the real adbd, which is Debian's, unpacked in ADBD.
#
# It has namespaces of its own, so it needs no root and opens no TCP port of this machine: a file system
# with this machine's programs, the stand-ins of bin/ for Android's, SPACE (such as 64m) of room in
# /data/local/tmp, two cores of which the second is the faster one, and, where the kernel lets a
# user register it, emulation of ARM64. STATE/pid is the process whose namespaces to enter.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [ "${INSIDE:-}" != yes ]; then
  INSIDE=yes exec unshare --user --map-root-user --net --mount --pid --fork --kill-child \
    bash "${BASH_SOURCE[0]}" "$@"
fi
adbd=$1 phone=$2 state=$3 space=$4
binfmt=/proc/sys/fs/binfmt_misc
cut -d ' ' -f 4 /proc/self/stat > "$state/pid.new" # /proc is still the outer one

ip link set lo up
root=$state/root
mkdir -p "$root"
mount -t tmpfs phone "$root"
mkdir -p "$root"/{usr,proc,dev,etc,tmp,adbd,phone,state,system/bin,data/local/tmp}
for name in bin lib lib64 sbin; do ln -s "usr/$name" "$root/$name"; done
for name in usr dev etc; do mount --rbind "/$name" "$root/$name"; done
mount --bind "$adbd" "$root/adbd"
mount --bind "$phone" "$root/phone"
mkdir -p "$state/seen"
mount --bind "$state/seen" "$root/state"
for name in getprop dumpsys cmd settings; do cp "$here/bin/$name" "$root/system/bin/"; done
mount -t tmpfs -o "size=$space" data "$root/data/local/tmp"
index=0
while read -r khz; do
  cpu=$root/sys/devices/system/cpu/cpu$index
  mkdir -p "$cpu/cpufreq"
  echo "$khz" > "$cpu/cpufreq/cpuinfo_max_freq"
  echo schedutil > "$cpu/cpufreq/scaling_governor"
  index=$((index + 1))
done < "$phone/max_khz.txt"
echo "0-$((index - 1))" | tee "$root"/sys/devices/system/cpu/{possible,present,online} > /dev/null
if mount -t binfmt_misc none "$binfmt" 2> /dev/null && [ ! -e "$binfmt/qemu-aarch64" ] \
  && [ -e /usr/lib/binfmt.d/qemu-aarch64.conf ]; then
  cat /usr/lib/binfmt.d/qemu-aarch64.conf > "$binfmt/register"
fi
[ -e "$binfmt/qemu-aarch64" ] && touch "$state/runs-arm64"
mount -t proc proc "$root/proc"
mv "$state/pid.new" "$state/pid"

libraries=/adbd/usr/lib/x86_64-linux-gnu
# The emulator's own choice of a processor turns on extensions that it computes wrongly.
start=(env -i PATH=/system/bin:/usr/bin:/bin PHONE=/phone PHONE_STATE=/state ADBD_PORT=5555
  QEMU_CPU=cortex-a76 "$libraries/ld-linux-x86-64.so.2"
  --library-path "$libraries:$libraries/android" /adbd/usr/lib/android-sdk/platform-tools/adbd)
while true; do # as init would; a file `off` in STATE keeps it away
  if [ ! -e "$state/off" ]; then chroot "$root" "${start[@]}" > "$state/log" 2>&1 || true; fi
  sleep 0.2
done
