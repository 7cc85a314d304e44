#!/usr/bin/env bash
# Proves the app as far as that goes without an Android SDK: it compiles, its resources link, and
# its core runs on the host's JVM with ExecuTorch behind it and gives what Python gives.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
export PYTHON=${PYTHON:-$root/.venv/bin/python}
work=${MNV2_CHECKS:-$root/app_samples/.checks}/android
export OMP_NUM_THREADS=1
mkdir -p "$work"
work=$(cd "$work" && pwd)
log=$work/log

for tool in java:openjdk-17-jdk-headless javac:openjdk-17-jdk-headless aapt2:aapt \
  cmake:cmake c++:g++ npm:npm; do
  command -v "${tool%%:*}" >/dev/null || { echo "${tool%%:*} is missing: apt-get install ${tool##*:}"; exit 1; }
done
json=/usr/share/java/json-android.jar
[ -f "$json" ] || { echo "$json is missing: apt-get install libandroid-json-org-java"; exit 1; }

quietly() { "$@" >"$log" 2>&1 || { echo "failed: $*"; cat "$log"; exit 1; }; }
step() { printf 'android: %s (%s s)\n' "$1" "$SECONDS"; }

downloads=${MNV2_CHECKS:-$root/app_samples/.checks}/downloads/android
quietly bash "$here/checks/fetch.sh" "$downloads"
downloads=$(cd "$downloads" && pwd)
jars=$downloads/kotlin/run_kotlin_kernel/jars
compiler=$(echo "$jars"/kotlin-jupyter-kernel-*-all.jar)
stdlib=$(echo "$jars"/kotlin-stdlib-*.jar)
executorch=$downloads/executorch/package/android/libs/classes.jar
android=$downloads/android/usr/share/java/com.android.android-23.jar
step "has compilers and classes"

builds=${MNV2_CHECKS:-$root/app_samples/.checks}/builds
quietly bash "$root/app_samples/demo_builds.sh" "$builds"
builds=$(cd "$builds" && pwd)
rm -rf "$work/apps" && mkdir "$work/apps"
make_app() { # BUILD PRECISION
  quietly "$PYTHON" -m exporter sample android --from "$builds/$1" -p "$2" --out "$work/apps/$1-$2"
}
for build in classification detection segmentation detection_nms segmentation_labels; do
  make_app $build int8
done
for build in classification detection segmentation; do make_app $build fp32; done
main=$work/apps/classification-int8/app/src/main
step "made apps of five builds"

rm -rf "$work/linked" "$work/classes" "$work/driver" "$work/doubles"
mkdir -p "$work/linked"
# Gradle adds the package name, which a source manifest must not have.
sed 's/<manifest /<manifest package="io.github.mnv2.app" /' "$main/AndroidManifest.xml" \
  >"$work/linked/AndroidManifest.xml"
quietly aapt2 compile --dir "$main/res" -o "$work/linked/resources.zip"
quietly aapt2 link -I "$android" --manifest "$work/linked/AndroidManifest.xml" \
  --min-sdk-version 23 --target-sdk-version 36 --java "$work/linked" \
  -o "$work/linked/resources.apk" "$work/linked/resources.zip"
step "linked the resources against android.jar"

kotlinc() {
  quietly java -cp "$compiler" org.jetbrains.kotlin.cli.jvm.K2JVMCompiler \
    -no-stdlib -no-reflect -Werror "$@"
}
# -language-version: of the Kotlin that the pinned Gradle plugin brings.
kotlinc -no-jdk -jvm-target 1.8 -language-version 2.2 -cp "$android:$executorch:$stdlib" -d "$work/classes" \
  "$main/java" "$work/linked"
step "compiled the app against android.jar and ExecuTorch's classes"

kotlinc -jvm-target 17 -cp "$work/classes:$json:$stdlib" -d "$work/driver" "$here/checks/jvm"
mapfile -t doubles < <(find "$here/checks/jni" -name '*.java')
quietly javac -Werror -Xlint:all -d "$work/doubles" "${doubles[@]}"
java_home=$(dirname "$(dirname "$(readlink -f "$(command -v javac)")")")
quietly cmake -S "$here/checks/jni" -B "$work/jni" -DCMAKE_BUILD_TYPE=Release \
  -DJAVA_HOME="$java_home" -DCMAKE_PREFIX_PATH="$("$PYTHON" -c \
    'import importlib.util as u; print(u.find_spec("executorch").submodule_search_locations[0])')"
quietly cmake --build "$work/jni"
step "built the JVM double of the runtime"

export ANDROID_CHECKS=$work
export ANDROID_CLASSPATH=$work/classes:$work/driver:$work/doubles:$executorch:$json:$stdlib
export ANDROID_TREE_SITTER=$downloads/python
quietly "$PYTHON" -m pytest -p no:cacheprovider "$here/checks"
tail -n 1 "$log"
step "the app's core gives what Python gives"
