#!/usr/bin/env bash
# The demo through a broker: July comes from four Kafka topics, the ingester is killed without warning again and again, and the bits agree.
# Everything it writes goes below target/flights-kafka. Needs Java 17 and Maven, with which scripts/kafka.sh fetches the broker.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/env.sh
. scripts/env.sh

out=target/flights-kafka
until=2013-07-01
say() { printf '\n== %s\n' "$*"; }
show() {
  printf '$ %s\n' "$*"
  "$@"
}

say "building"
cargo build --release --workspace --bins --examples
bin="$CARGO_TARGET_DIR/release"
lockstep() { "$bin/lockstep" --store "$out/store" "$@"; }

rm -rf "$out"
mkdir -p "$out"

say "a broker of its own"
LOCKSTEP_DEMO_BROKERS=$(scripts/kafka.sh start "$out/broker" $$)
export LOCKSTEP_DEMO_BROKERS
trap 'scripts/kafka.sh stop "$out/broker"' EXIT
echo "listening at $LOCKSTEP_DEMO_BROKERS"

say "history: January to June"
show lockstep apply
show lockstep backfill --until "$until"

say "a bad log of July: shuffled, repeated, late, and one row from 2099; produced to four topics"
"$bin/examples/flights_stream" --out "$out"
"$bin/examples/flights_produce" --brokers "$LOCKSTEP_DEMO_BROKERS" --from "$out/july.ndjson"

say "July happens: the topics are followed, and the ingester is killed without warning ten times"
for round in $(seq 10); do
  # Not through the function: its process would be the shell's, and the kill would miss the ingester.
  "$bin/lockstep" --store "$out/store" ingest --batch-rows 500 >/dev/null 2>&1 &
  ingesting=$!
  sleep "0.$((RANDOM % 5 + 3))"
  kill -KILL "$ingesting" 2>/dev/null || true
  wait "$ingesting" 2>/dev/null || true
done
show lockstep ingest --until-end

say "one answer: will UA's plane N39423 be late out of Newark?"
show lockstep get delay_v1 origin=EWR dest=ORD carrier=UA tailnum=N39423 distance=719 scheduled_at=2013-07-20T14:00:00Z \
  --as-of 2013-07-20T12:00:00Z

say "everything again: the topics are read from their beginning, and all values computed two other ways"
printf '$ lockstep verify\n'
lockstep verify >"$out/verify.txt" || { cat "$out/verify.txt"; exit 1; }
tail -n 3 "$out/verify.txt"
