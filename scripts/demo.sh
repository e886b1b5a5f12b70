#!/usr/bin/env bash
# The demo: features of the flights of 2013, from SQL to bits that agree. Everything it writes goes below target/flights.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/env.sh
. scripts/env.sh

out=target/flights
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

say "the features, as SQL (feature_defs/)"
show lockstep check
show lockstep apply

say "history: January to June, into versions that nobody sees until they are whole"
show lockstep backfill --until "$until"

say "a bad log of July: shuffled, repeated, late, and one row from 2099"
"$bin/examples/flights_stream" --out "$out"

say "July happens: the log is applied, and 20,000 flights are asked about on the way, each two hours before it is due"
ask=(--from "$out/july.ndjson" --batch-rows 1000 --answer "delay_v1=$out/requests.ndjson" --keep "$out/answers")
printf '$ lockstep ingest %s\n' "${ask[*]}"
# Not through the function: its process would be the shell's, and the kill would miss the ingester.
"$bin/lockstep" --store "$out/store" ingest "${ask[@]}" >/dev/null 2>&1 &
ingesting=$!
answered() { find "$out/answers" -name '*.parquet' 2>/dev/null | wc -l; }
while kill -0 "$ingesting" 2>/dev/null && [[ $(answered) -lt 25 ]]; do sleep 0.02; done
if kill -KILL "$ingesting" 2>/dev/null; then echo "(killed without warning, half way)"; fi
wait "$ingesting" 2>/dev/null || true
show lockstep ingest "${ask[@]}"

say "one of the answers, again: will UA's plane N39423 be late out of Newark?"
show lockstep get delay_v1 origin=EWR dest=ORD carrier=UA tailnum=N39423 distance=719 scheduled_at=2013-07-20T14:00:00Z \
  --as-of 2013-07-20T12:00:00Z | sed -n '1,14p'
echo "…"

say "a training set of the flights until June, with what each feature would have told of the future"
show lockstep train delay_v1 --spine "$out/spine.parquet" --out "$out/train" |
  sed -n -e '1,3p' -e '/^  \(origin_avg_delay_1d\|dest_avg_delay_6h\|carrier_avg_delay_1d\|plane_last_delay\|route_late_share_30d\) /p'
echo "…"

say "July's flights, scored in one go, each as of two hours before it was due, from all that the store has applied"
flights="SELECT flight_id, origin, dest, carrier, tailnum, distance, scheduled_at, late, scheduled_at - INTERVAL '2 hours' AS request_time
  FROM \"examples/flights/data/labels.parquet\" WHERE scheduled_at >= TIMESTAMP '2013-07-01' AND scheduled_at < TIMESTAMP '2013-08-01' ORDER BY flight_id"
printf '$ lockstep score late --spine-sql "SELECT …, scheduled_at - INTERVAL '"'2 hours'"' AS request_time FROM …" --out %s/scores\n' "$out"
lockstep score late --spine-sql "$flights" --out "$out/scores"
say "how well do the trees tell late flights from others, and do they mean what they say?"
lockstep sql "SELECT round((sum(CASE WHEN late THEN r ELSE 0 END) - late_ones * (late_ones + 1) / 2.0) / (late_ones * (flights - late_ones)), 4) AS auc, flights, late_ones AS late
  FROM (SELECT late, rank() OVER (ORDER BY late_probability) + (count(*) OVER (PARTITION BY late_probability) - 1) / 2.0 AS r,
               count(*) OVER () AS flights, count(*) FILTER (WHERE late) OVER () AS late_ones FROM \"$out/scores/\") AS ranked GROUP BY flights, late_ones"
lockstep sql "SELECT least(floor(late_probability * 5), 4) / 5 AS said_from, count(*) AS flights, round(avg(late_probability), 3) AS said, round(avg(CASE WHEN late THEN 1.0 ELSE 0.0 END), 3) AS were_late
  FROM \"$out/scores/\" GROUP BY 1 ORDER BY 1"

say "was every answer what the inputs say, as far as they had come?"
show lockstep verify --served "$out/answers"

say "is all that is stored what the inputs say? every way there is"
# So many rows that every value is computed by the oracle too.
printf '$ lockstep verify --values 1100000 --oracle-rows 400000000\n'
lockstep verify --values 1100000 --oracle-rows 400000000 >"$out/verify.txt" || { cat "$out/verify.txt"; exit 1; }
tail -n 2 "$out/verify.txt"

say "and would verify notice?"
printf '$ lockstep verify --self-test\n'
lockstep verify --self-test >"$out/self_test.txt" || { cat "$out/self_test.txt"; exit 1; }
tail -n 1 "$out/self_test.txt"

say "which other flights from Newark to Chicago? the most punctual first, and none that is cancelled (examples/flights/alternatives)"
rm -rf target/flights-alternatives
alternatives() { (cd examples/flights/alternatives && "$bin/lockstep" "$@"); }
alternatives apply >/dev/null
alternatives backfill --until 2013-07-20T12:00:00Z >/dev/null
ask_alternatives() {
  printf '$ lockstep get alternatives origin=EWR dest=ORD --as-of 2013-07-20T12:00:00Z\n'
  alternatives get alternatives origin=EWR dest=ORD --as-of 2013-07-20T12:00:00Z | sed -n '2,4p'
}
ask_alternatives
first=$(alternatives get alternatives origin=EWR dest=ORD --as-of 2013-07-20T12:00:00Z --json | sed -n 's/.*"value": "\[\([A-Z0-9]*\) \([0-9]*\),.*/\1 \2/p' | head -1)
say "$first is cancelled, by one event of the stream, and is gone from the next answer"
printf '{"flight_id": -1, "carrier": "%s", "flight_number": %s, "scheduled_at": "2013-07-20T11:59:00Z"}\n' "${first% *}" "${first#* }" |
  alternatives ingest --source cancellations --from - >/dev/null
ask_alternatives

cat <<END

What you saw: 80 features were defined once, in SQL. History went in by sorted files; July came as a stream, shuffled, with repeats and
late rows, and the process was killed half way. 20,000 predictions were asked for meanwhile. Then every input was read again: each
answer was computed a second time as of the rows that had come by then, and the store was compared with a computation in memory,
by trees of another shape, and with DataFusion running the same SQL. Values and statuses are the same in every bit.

$out/verify.txt says for each feature how many values were compared, by which oracle, and how many of them tell something.
END
