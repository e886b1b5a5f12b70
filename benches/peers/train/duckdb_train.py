"""The training set by DuckDB. Two forms, since neither is always the faster: see README.md."""

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


def main():
    forms = {"range_join": range_join, "window": window}
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
    connection.sql(f"COPY ({forms[wanted.form](wanted.directory)}) TO '{result}' (FORMAT parquet, COMPRESSION zstd)")


if __name__ == "__main__":
    main()
