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
  "$LOCKSTEP" --project "$project" --store "$store" "$@"
}
# Trains, and has a month happen and be asked about: by the definitions of $project, in $store, with the log $1; what comes of it goes to the directory $2.
run() {
  show train late_v1 --spine "$out/learn.parquet" --timestamp request_time --out "$2/learned"
  show apply >/dev/null
  show backfill --until 2013-07-01
  show ingest --from "$1" --answer "late_v1=$out/requests.ndjson" --keep "$2/answers"
  show train late_v1 --spine "$out/ask.parquet" --timestamp request_time --out "$2/asked" >/dev/null
}

rm -rf "$out"/{store,learned,asked,answers,late} "$out"/*.{parquet,ndjson}
say "flights to learn from, flights of July to be asked about, and July's events in the order in which they were known"
(cd "$here" && PYTHONDONTWRITEBYTECODE=1 "$python" -m unittest --quiet test_compare && PYTHONDONTWRITEBYTECODE=1 "$python" prepare.py --data "$data" --out "$out")

say "Lockstep: a training set, with what of each feature would have leaked; then July happens, and flights are asked about on the way"
project=$here store=$out/store
run "$out/july.ndjson" "$out"

say "Lockstep: the same where a tenth of the arrivals are recorded late, and the definitions say when"
project=$out/late store=$out/late/store
mkdir -p "$project/feature_defs"
echo 'definitions = "feature_defs"' >"$project/lockstep.toml"
sed -e "s|available_at = 'arrived_at'|available_at = 'recorded_at'|" -e "s|arrived_at TIMESTAMP,|arrived_at TIMESTAMP, recorded_at TIMESTAMP,|" \
  -e "s|'../data/arrivals.parquet'|'$out/late/arrivals.parquet'|" -e "s|'../data/|'$data/|" "$here/feature_defs/late_v1.sql" >"$project/feature_defs/late_v1.sql"
[[ $(diff "$here/feature_defs/late_v1.sql" "$project/feature_defs/late_v1.sql" | grep -c '^>') == 3 ]] || { echo "late_v1.sql reads otherwise than run.sh expects" >&2; exit 2; }
run "$out/late/july.ndjson" "$out/late"

say "the same by SQL, and what the model comes to"
PYTHONDONTWRITEBYTECODE=1 "$python" "$here/compare.py" --data "$data" --out "$out"
echo "$out/result.md and $out/result.svg have it"
