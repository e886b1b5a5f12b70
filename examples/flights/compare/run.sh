#!/usr/bin/env bash
# What a model is trained on against what it is served, by a nightly job in SQL with a cache, and by Lockstep: see README.md beside this. LOCKSTEP names the binary.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
: "${LOCKSTEP:?the path of a built binary, such as LOCKSTEP=\$HOME/.cache/lockstep/target/release/lockstep}"
out=${1:-$here/../../../target/flights-train}
mkdir -p "$out"
out=$(cd "$out" && pwd)
data=$(cd "$here/../data" && pwd)

cache=${LOCKSTEP_PEERS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/lockstep/compare}
python="$cache/bin/python"
if ! cmp -s "$here/requirements.txt" "$cache/requirements"; then
  mkdir -p "$cache"
  python3 -m venv --clear "$cache"
  "$python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt"
  cp "$here/requirements.txt" "$cache/requirements"
fi

say() { printf '\n== %s\n' "$*"; }
show() {
  printf '$ lockstep %s\n' "$*"
  "$LOCKSTEP" --project "$here" --store "$out/store" "$@"
}

rm -rf "$out"/{store,learned,asked,answers} "$out"/*.{parquet,ndjson}
say "flights to learn from, flights of July to be asked about, and July's events in the order in which they were known"
(cd "$here" && PYTHONDONTWRITEBYTECODE=1 "$python" -m unittest --quiet test_compare && PYTHONDONTWRITEBYTECODE=1 "$python" prepare.py --data "$data" --out "$out")

say "Lockstep: a training set, with what of each feature would have leaked"
show train late_v1 --spine "$out/learn.parquet" --timestamp request_time --out "$out/learned"

say "Lockstep: July happens, and flights are asked about on the way"
show apply >/dev/null
show backfill --until 2013-07-01
show ingest --from "$out/july.ndjson" --answer "late_v1=$out/requests.ndjson" --keep "$out/answers"
show train late_v1 --spine "$out/ask.parquet" --timestamp request_time --out "$out/asked" >/dev/null

say "the same by SQL, and what the model comes to"
PYTHONDONTWRITEBYTECODE=1 "$python" "$here/compare.py" --data "$data" --out "$out"
echo "$out/result.md and $out/result.svg have it"
