"""Writes what both sides are given: flights to learn from, flights to be asked about in July, and July's events in the order in which they were known; and, below `late`, the arrivals as they
would be if a tenth of them were recorded late."""

import argparse
from pathlib import Path

import duckdb

# Half a year to learn from, and the four weeks after it; a part of the flights, chosen by their numbers.
FIRST, CUT, END = "2013-02-01", "2013-07-01", "2013-07-29"
LEARN_EVERY, ASK_EVERY = 3, 2
COLUMNS = "origin, dest, carrier, tailnum, scheduled_at"
# The data have no such delays: one arrival in so many is recorded late, by up to so many minutes, both by its number.
LATE_EVERY, LATE_MINUTES = 10, 360


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--data", type=Path, required=True)
    arguments.add_argument("--out", type=Path, required=True)
    wanted = arguments.parse_args()
    data, out = wanted.data, wanted.out
    out.mkdir(parents=True, exist_ok=True)
    connection = duckdb.connect()
    flights = f"(SELECT *, scheduled_at - INTERVAL '2 hours' AS request_time FROM '{data}/labels.parquet')"
    # No flight is learned from whose outcome was not known by the cut.
    learned = f"request_time >= '{FIRST}' AND label_known_at < '{CUT}' AND flight_id % {LEARN_EVERY} = 0"
    asked = f"request_time >= '{CUT}' AND request_time < '{END}' AND flight_id % {ASK_EVERY} = 0"
    for name, which in [("learn", learned), ("ask", asked)]:
        rows = f"SELECT flight_id, request_time, {COLUMNS}, late FROM {flights} WHERE {which} ORDER BY request_time, flight_id"
        connection.sql(f"COPY ({rows}) TO '{out}/{name}.parquet' (FORMAT parquet)")
    moment = "strftime({0}, '%Y-%m-%dT%H:%M:%S.%fZ') AS {1}"
    times = ", ".join(moment.format(name, name) for name in ["request_time", "scheduled_at"])
    plain = "origin, dest, carrier, tailnum"
    connection.sql(f"COPY (SELECT {plain}, {times} FROM '{out}/ask.parquet') TO '{out}/requests.ndjson' (FORMAT json)")
    (out / "late").mkdir(exist_ok=True)
    late = f"CASE WHEN hash(flight_id) % {LATE_EVERY} = 0 THEN hash(-flight_id) % {LATE_MINUTES} ELSE 0 END"
    recorded = f"SELECT *, arrived_at + to_minutes(({late})::BIGINT) AS recorded_at FROM '{data}/arrivals.parquet'"
    connection.sql(f"COPY ({recorded}) TO '{out}/late/arrivals.parquet' (FORMAT parquet)")
    for name, arrivals, known in [("july", f"{data}/arrivals.parquet", "arrived_at"), ("late/july", f"{out}/late/arrivals.parquet", "recorded_at")]:
        connection.sql(f"COPY ({log(data, arrivals, known, moment)}) TO '{out}/{name}.ndjson' (FORMAT json)")
    for name in ["learn", "ask"]:
        ((count,),) = connection.sql(f"SELECT count(*) FROM read_parquet('{out}/{name}.parquet')").fetchall()
        print(f"{name}: {count} flights")


def log(data, arrivals, known_at, moment):
    """July's events as a broker would have them: each when it was known, arrivals by their column `known_at`. Columns that a source does not have are NULL."""
    departed, known = moment.format("departed_at", "departed_at"), moment.format("{0}", "_append_time")
    source = "SELECT '{0}' AS _source, {1}, flight_id, carrier, tailnum, origin, dest, {2}, {3}, {4} AS known FROM '{5}' WHERE {4} >= '{6}' AND {4} < '{7}'"
    times, file = f"{departed}, NULL AS arrived_at, NULL AS recorded_at", f"{data}/departures.parquet"
    departures = source.format("departures", known.format("departed_at"), "dep_delay, NULL::DOUBLE AS arr_delay", times, "departed_at", file, CUT, END)
    times = f"{departed}, {moment.format('arrived_at', 'arrived_at')}, " + (moment.format(known_at, "recorded_at") if known_at != "arrived_at" else "NULL AS recorded_at")
    arrivals = source.format("arrivals", known.format(known_at), "NULL::DOUBLE AS dep_delay, arr_delay", times, known_at, arrivals, CUT, END)
    return f"SELECT * EXCLUDE known FROM ({departures} UNION ALL {arrivals}) ORDER BY known, _source, flight_id"


if __name__ == "__main__":
    main()
