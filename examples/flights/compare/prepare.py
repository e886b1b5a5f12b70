"""Writes what both sides are given: flights to learn from, flights to be asked about in July, and July's events in the order in which they were known."""

import argparse
from pathlib import Path

import duckdb

# Half a year to learn from, and the four weeks after it; a part of the flights, chosen by their numbers.
FIRST, CUT, END = "2013-02-01", "2013-07-01", "2013-07-29"
LEARN_EVERY, ASK_EVERY = 3, 2
COLUMNS = "origin, dest, carrier, tailnum, scheduled_at"


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
    connection.sql(f"COPY ({log(data, moment)}) TO '{out}/july.ndjson' (FORMAT json)")
    for name in ["learn", "ask"]:
        ((count,),) = connection.sql(f"SELECT count(*) FROM read_parquet('{out}/{name}.parquet')").fetchall()
        print(f"{name}: {count} flights")


def log(data, moment):
    """July's events as a broker would have them: each when it was known, and none late. Columns that a source does not have are NULL."""
    departed = moment.format("departed_at", "departed_at")
    known = moment.format("{0}", "_append_time")
    source = "SELECT '{0}' AS _source, {1}, flight_id, carrier, tailnum, origin, dest, {2}, {3}, {4} AS known FROM '{5}/{0}.parquet' WHERE {4} >= '{6}' AND {4} < '{7}'"
    departures = source.format("departures", known.format("departed_at"), "dep_delay, NULL::DOUBLE AS arr_delay", f"{departed}, NULL AS arrived_at", "departed_at", data, CUT, END)
    arrived = moment.format("arrived_at", "arrived_at")
    arrivals = source.format("arrivals", known.format("arrived_at"), "NULL::DOUBLE AS dep_delay, arr_delay", f"{departed}, {arrived}", "arrived_at", data, CUT, END)
    return f"SELECT * EXCLUDE known FROM ({departures} UNION ALL {arrivals}) ORDER BY known, _source, flight_id"


if __name__ == "__main__":
    main()
