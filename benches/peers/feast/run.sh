#!/usr/bin/env bash
# Compares lookups by Lockstep with those by Feast's Python server: see README.md beside this.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
venv="${FEAST_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/lockstep/feast}"
if [ ! -x "$venv/bin/feast" ]; then
  command -v python3 >/dev/null 2>&1 || { echo "feast: no python3 here · install Python 3.10 or newer" >&2; exit 3; }
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --requirement "$here/requirements.txt" || { rm -rf "$venv"; echo "feast: could not install Feast" >&2; exit 3; }
fi
# Where nobody may install it, the other store is compared all the same, and it is said.
if ! command -v redis-server >/dev/null 2>&1 && command -v apt-get >/dev/null 2>&1; then
  as_root=env
  if [ "$(id -u)" != 0 ]; then as_root="sudo -n env"; fi
  { $as_root apt-get update && $as_root DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends redis-server; } >/dev/null 2>&1 || true
fi
cd "$here/../../.."
export LOCKSTEP_BENCH_PEER="$venv/bin/python $here/serve.py"
for store in ${FEAST_ONLINE_STORES:-sqlite redis}; do
  if [ "$store" = redis ] && ! command -v redis-server >/dev/null 2>&1; then
    echo "feast: no redis-server here and none could be installed, so not with Redis" >&2
    continue
  fi
  FEAST_ONLINE_STORE="$store" cargo bench --workspace --bench serve -- peer
done
