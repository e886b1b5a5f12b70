#!/usr/bin/env bash
# Compares a topic applied by Lockstep with the same topic read by Flink SQL: see README.md beside this. CHECKPOINTS says how far apart Flink's checkpoints are, such as 10s; a second by default.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
for tool in java javac mvn; do
  command -v "$tool" >/dev/null 2>&1 || { echo "flink: no $tool here · install a JDK 17 or newer, and Maven" >&2; exit 3; }
done
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
mvn -B -q -f "$here/pom.xml" dependency:build-classpath -Dmdep.outputFile="$build/class-path" >"$build/maven.log" 2>&1 ||
  { tail -20 "$build/maven.log" >&2; echo "flink: could not download Flink" >&2; exit 3; }
javac --release 17 -cp "$(cat "$build/class-path")" -d "$build" "$here/src/Payments.java"
# Flink reaches into the JDK, which has to be allowed.
opens=(java.base/java.lang java.base/java.net java.base/java.io java.base/java.util java.base/java.util.concurrent java.base/java.time java.base/sun.net.util)
# And leaves files behind, its state among them, which go with the rest.
mkdir "$build/tmp"
printf '%s\n' -Xmx4g "-Djava.io.tmpdir=$build/tmp" "-Dcheckpoints=${CHECKPOINTS:-1s}" "${opens[@]/#/--add-opens=}" -cp "$build:$(cat "$build/class-path")" Payments | sed 's/^--add-opens=\(.*\)/--add-opens=\1=ALL-UNNAMED/' >"$build/arguments"
cd "$here/../../.."
# shellcheck source=../../../scripts/env.sh
. scripts/env.sh
LOCKSTEP_REQUIRE_KAFKA=1 LOCKSTEP_BENCH_PEER="java @$build/arguments" cargo bench --workspace --bench kafka "$@"
