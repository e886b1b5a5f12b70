#!/usr/bin/env bash
# Trains the models of the demo, late_v1 and its fallback, and writes them to feature_defs/models, or to the directory $1: see README.md beside this. LOCKSTEP names the binary.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "${1:-$here/../../../feature_defs/models}"
models=$(cd "${1:-$here/../../../feature_defs/models}" && pwd)
cd "$here/../../.."
: "${LOCKSTEP:?the path of a built binary, such as LOCKSTEP=\$HOME/.cache/lockstep/target/release/lockstep}"
out=target/flights-model

cache=${LOCKSTEP_PEERS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/lockstep/model}
if ! cmp -s "$here/requirements.txt" "$cache/requirements"; then
  mkdir -p "$cache"
  python3 -m venv --clear "$cache"
  "$cache/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt"
  cp "$here/requirements.txt" "$cache/requirements"
fi

# Two hours before they are due, by what was known then.
spine() {
  printf "SELECT flight_id, carrier, tailnum, origin, dest, distance, scheduled_at, late, scheduled_at - INTERVAL '2 hours' AS request_time
    FROM \"examples/flights/data/labels.parquet\" WHERE scheduled_at >= TIMESTAMP '%s' AND scheduled_at < TIMESTAMP '%s' ORDER BY flight_id" "$1" "$2"
}
rm -rf "$out"
mkdir -p "$out"
"$LOCKSTEP" train delay_v1 --spine-sql "$(spine 2013-02-01 2013-07-01)" --time known --out "$out/learn" >"$out/learn.txt"
"$LOCKSTEP" train delay_v1 --spine-sql "$(spine 2013-07-01 2013-08-01)" --time known --out "$out/ask" >"$out/ask.txt"
PYTHONDONTWRITEBYTECODE=1 "$cache/bin/python" "$here/train.py" --learn "$out/learn" --ask "$out/ask" --out "$models"
