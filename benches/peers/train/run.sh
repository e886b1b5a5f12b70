#!/usr/bin/env bash
# Makes a training set by DuckDB, Polars, Feast and Lockstep from the same Parquet: see README.md beside this.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
usage="usage: run.sh [EVENTS [SPINE [ACCOUNTS]]], by default 10000000 1000000 100000"
[[ $# -le 3 && "$*" != *[!0-9\ ]* ]] || { echo "$usage" >&2; exit 2; }
events=${1:-10000000} spine=${2:-1000000} accounts=${3:-100000}

cache=${LOCKSTEP_PEERS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/lockstep/peers-train}
mkdir -p "$cache"
# Feast has its own requirements, which are not to hold the others down.
environment() {
  local python="$cache/$1/bin/python" wanted="$here/$2"
  if ! cmp -s "$wanted" "$cache/$1/requirements"; then
    python3 -m venv --clear "$cache/$1"
    "$python" -m pip install --quiet --disable-pip-version-check -r "$wanted"
    cp "$wanted" "$cache/$1/requirements"
  fi
}
environment tools requirements.txt
environment feast requirements-feast.txt
tools="$cache/tools/bin/python" feast="$cache/feast/bin/python"
version() { "$1" -c "from importlib.metadata import version; print(version('$2'))"; }
duckdb="DuckDB $(version "$tools" duckdb)" polars="Polars $(version "$tools" polars)" feasts="Feast $(version "$feast" feast)"

# Two threads, on two cores where there are more, and this much memory for each tool.
export PEERS_THREADS=${PEERS_THREADS:-2} PEERS_MEMORY_GIB=${PEERS_MEMORY_GIB:-16} PEERS_SECONDS=${PEERS_SECONDS:-1800}
export POLARS_MAX_THREADS=$PEERS_THREADS PYTHONPATH="$here" FEAST_USAGE=False
taskset -cp "0-$((PEERS_THREADS - 1))" $$ >/dev/null

data=$(mktemp -d "${TMPDIR:-/tmp}/lockstep-peers-train.XXXXXX")
trap 'rm -rf "$data"' EXIT

row() { # NAME COMMAND…: a row of the table; what the tool says is shown if it fails
  local name=$1 log
  shift
  log="$data/$(tr -c 'a-zA-Z0-9\n' _ <<<"$name").log"
  if "$tools" "$here/measure.py" --name "$name" --log "$log" "$@"; then return 0; fi
  tail -5 "$log" | sed 's/^/    /'
  return 1
}

compared() { # FILE…: those that exist
  local file
  for file; do [[ -e $file ]] && echo "$file"; done
  return 0
}

case_of() { # TITLE [--hot]
  local dir="$data/set" title=$1 form names
  shift
  rm -rf "$dir"
  "$tools" "$here/data.py" "$dir" --events "$events" --spine "$spine" --accounts "$accounts" "$@"
  printf '\n%s events, %s rows of the spine, %s accounts, %s; 20 features; %s threads, %s GiB\n' \
    "$events" "$spine" "$accounts" "$title" "$PEERS_THREADS" "$PEERS_MEMORY_GIB"
  printf '  %-44s %9s %9s %8s\n' "" "wall s" "cpu s" "RSS GiB"
  for form in rolling rolling_by; do row "$polars, $form" "$tools" "$here/polars_train.py" "$dir" $form || true; done
  for form in range_join window tiles; do row "$duckdb, $form" "$tools" "$here/duckdb_train.py" "$dir" $form || true; done
  if row "$polars, features at events, for Feast" "$tools" "$here/feast_train.py" "$dir" precompute; then
    for form in duckdb dask; do row "$feasts, join only, $form" "$feast" "$here/feast_train.py" "$dir" $form || true; done
  fi
  if [[ -n ${LOCKSTEP:-} ]]; then
    row "$("$LOCKSTEP" --version)" env -C "$dir" "$LOCKSTEP" train peers_v1 --spine spine.parquet --out lockstep ${LOCKSTEP_TRAIN:-} || true
  fi
  printf '\n  values\n'
  mapfile -t names < <(cd "$dir" && compared {duckdb,polars}_*.parquet lockstep/*.parquet)
  (cd "$dir" && "$tools" "$here/compare.py" "${names[@]}")
}

echo "$duckdb, $polars, $feasts; $(uname -sm), $(nproc) processors"
wrong=0
case_of "evenly spread" || wrong=1
case_of "one account with half of both" --hot || wrong=1
exit $wrong
