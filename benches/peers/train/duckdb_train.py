"""The training set by DuckDB, in three forms, since none is always the fastest: see README.md."""

import argparse
import os
from pathlib import Path

import duckdb

from features import WINDOWS, features


def range_join(directory):
    """Each row of the spine with the events of its longest window, which are then aggregated."""
    calls = ",\n  ".join(f"{call}(e.amount) {inside(window)} AS {call}_{window}" for call, window in features())
    return f"""
WITH spine AS (SELECT *, row_number() OVER () AS row FROM '{directory}/spine.parquet')
SELECT any_value(s.account) AS account, any_value(s.paid_at) AS paid_at, any_value(s.label) AS label,
  {calls}
FROM spine s LEFT JOIN '{directory}/events.parquet' e
  ON e.account = s.account AND e.paid_at <= s.paid_at AND e.paid_at >= s.paid_at - INTERVAL '{list(WINDOWS.values())[-1]}'
GROUP BY s.row"""


def inside(window):
    longest = list(WINDOWS)[-1]
    return "" if window == longest else f"FILTER (e.paid_at >= s.paid_at - INTERVAL '{WINDOWS[window]}')"


def window(directory):
    """Events and spine in one table, windows over both, and of the result the spine."""
    # Averages come of sums and counts, which is a fifth faster than a window call more.
    calls = ",\n  ".join(f"{call}(amount) OVER {window} AS {call}_{window}" for call, window in features() if call != "avg")
    result = ", ".join(f"sum_{window} / count_{window} AS avg_{window}" if call == "avg" else f"{call}_{window}" for call, window in features())
    windows = ",\n  ".join(
        f"{name} AS (PARTITION BY account ORDER BY paid_at RANGE BETWEEN INTERVAL '{length}' PRECEDING AND CURRENT ROW)"
        for name, length in WINDOWS.items()
    )
    return f"""
WITH mixed AS (
  SELECT account, paid_at, amount, NULL::BOOLEAN AS label, false AS asks FROM '{directory}/events.parquet'
  UNION ALL
  SELECT account, paid_at, NULL, label, true FROM '{directory}/spine.parquet'
),
computed AS (SELECT account, paid_at, label, asks,
  {calls}
FROM mixed WINDOW {windows})
SELECT account, paid_at, label, {result} FROM computed WHERE asks"""


# µs of the tiles, and of the windows.
MINUTE, HOUR, DAY = 60_000_000, 3_600_000_000, 86_400_000_000
LENGTHS = [HOUR, DAY, 7 * DAY, 30 * DAY]
# An account with more events is one that `tiles` makes tiles of.
MANY = 10_000


def down(edge, grain):
    return f"({edge} // {grain} * {grain})"


def up(edge, grain):
    return f"(({edge} + {grain - 1}) // {grain} * {grain})"


def ring(number, coarsest):
    """What a ring, the time between two lengths, is made of: (grain, ring, from, to), of events themselves where the grain is None. A ring
    is longer than its coarsest tile."""
    grains = [grain for grain in (MINUTE, HOUR, DAY) if grain <= coarsest]
    lo, hi, parts = "lo", "hi", []
    finer = None
    for grain in grains:
        parts += [(finer, lo, up("lo", grain)), (finer, down("hi", grain), hi)]
        lo, hi, finer = up("lo", grain), down("hi", grain), grain
    return [(grain, number, *part) for grain, *part in [*parts, (finer, lo, hi)]]


def tiles(directory):
    """As `range_join`, but that the events of accounts that have many are first made into tiles of minutes, hours and days. The time that
    lies between two windows' lengths is a ring; each is put together of tiles and, at its edges, of events."""
    events, spine = f"'{directory}/events.parquet'", f"'{directory}/spine.parquet'"
    parts = [part for number, coarsest in enumerate([MINUTE, HOUR, HOUR, DAY]) for part in ring(number, coarsest)]
    edges = ["t + 1", *(f"t - {length}" for length in LENGTHS)]
    rings = " UNION ALL ".join(f"SELECT row, account, {n} AS ring, {edges[n + 1]} AS lo, {edges[n]} AS hi FROM asked" for n in range(len(LENGTHS)))
    statements = [
        f"CREATE TEMP TABLE many AS SELECT account FROM {events} GROUP BY account HAVING count(*) > {MANY}",
        f"CREATE TEMP TABLE happened AS SELECT account, epoch_us(paid_at) AS t, amount FROM {events} SEMI JOIN many USING (account)",
        f"CREATE TEMP TABLE asked AS SELECT row_number() OVER () AS row, account, paid_at, label, epoch_us(paid_at) AS t FROM {spine} SEMI JOIN many USING (account)",
        f"CREATE TEMP TABLE rings AS {rings}",
    ]
    found = []
    for grain in (None, MINUTE, HOUR, DAY):
        spans = " UNION ALL ".join(
            f"SELECT row, account, ring, lo AS ring_lo, hi AS ring_hi, {start} AS a, {end} AS b FROM rings WHERE ring = {number}"
            for of, number, start, end in parts
            if of == grain
        )
        # Events are found by the minute in which they are.
        bucket = grain or MINUTE
        first = "a" if grain else down("a", MINUTE)
        pieces = f"SELECT row, account, ring, a, b, unnest(range({first}, b, {bucket})) AS bucket FROM ({spans}) WHERE a < b"
        if grain:
            made = f"SELECT account, {down('t', grain)} AS bucket, count(*) AS n, sum(amount) AS s, min(amount) AS least, max(amount) AS most FROM happened GROUP BY ALL"
            found.append(f"SELECT row, ring, sum(n) AS n, sum(s) AS s, min(least) AS least, max(most) AS most FROM ({pieces}) p JOIN ({made}) m USING (account, bucket) GROUP BY row, ring")
        else:
            raw = f"SELECT account, {down('t', MINUTE)} AS bucket, t, amount FROM happened"
            found.append(f"SELECT row, ring, count(*) AS n, sum(amount) AS s, min(amount) AS least, max(amount) AS most FROM ({pieces}) p JOIN ({raw}) m USING (account, bucket) WHERE t >= a AND t < b GROUP BY row, ring")
    statements += [f"{'INSERT INTO found' if n else 'CREATE TEMP TABLE found AS'} {select}" for n, select in enumerate(found)]
    columns = []
    for call, window in features():
        within = f"FILTER (ring <= {list(WINDOWS).index(window)})"
        columns.append({
            "count": f"coalesce(sum(n) {within}, 0)::BIGINT AS count_{window}",
            "sum": f"sum(s) {within} AS sum_{window}",
            "avg": f"sum(s) {within} / sum(n) {within} AS avg_{window}",
            "min": f"min(least) {within} AS min_{window}",
            "max": f"max(most) {within} AS max_{window}",
        }[call])
    few = range_join(directory).replace(f"FROM {spine})", f"FROM {spine} ANTI JOIN many USING (account))")
    return statements, f"""
SELECT any_value(account) AS account, any_value(paid_at) AS paid_at, any_value(label) AS label,
  {", ".join(columns)}
FROM asked LEFT JOIN found USING (row) GROUP BY row
UNION ALL ({few})"""


def main():
    forms = {"range_join": range_join, "window": window, "tiles": tiles}
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("directory", type=Path)
    arguments.add_argument("form", choices=forms)
    wanted = arguments.parse_args()
    connection = duckdb.connect()
    connection.sql(f"SET threads = {os.environ['PEERS_THREADS']}")
    connection.sql(f"SET memory_limit = '{os.environ['PEERS_MEMORY_GIB']} GiB'")
    connection.sql(f"SET temp_directory = '{wanted.directory}/spilled'")
    connection.sql("SET preserve_insertion_order = false")
    connection.sql("SET TimeZone = 'UTC'")
    result = wanted.directory / f"duckdb_{wanted.form}.parquet"
    select = forms[wanted.form](wanted.directory)
    if isinstance(select, tuple):
        statements, select = select
        for statement in statements:
            connection.execute(statement)
    connection.sql(f"COPY ({select}) TO '{result}' (FORMAT parquet, COMPRESSION zstd)")


if __name__ == "__main__":
    main()
