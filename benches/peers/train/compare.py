"""Compares training sets, row by row: the largest relative difference of each feature between the first file and each other one."""

import argparse
import sys

import duckdb

from features import features, names

# Exact values rounded once, against sums that carry errors along.
TOLERANCE = {"count": 0.0, "min": 0.0, "max": 0.0, "sum": 1e-6, "avg": 1e-6}


def compare(connection, first, other):
    """Prints a line per feature that differs, and tells whether all are within their bounds. A row is found by what it asks:
    where two ask the same, they have the same values."""
    named = list(zip((call for call, _ in features()), names()))
    key = "account, paid_at::TIMESTAMPTZ AS paid_at"
    columns = ", ".join(f"{name}::DOUBLE AS {name}" for _, name in named)
    numbered = "(SELECT {}, row_number() OVER (ORDER BY account, paid_at) AS row FROM read_parquet('{}'))"
    differs = ", ".join(
        # Both absent is equal, one absent is not.
        f"max(CASE WHEN a.{name} IS NULL AND b.{name} IS NULL THEN 0 WHEN a.{name} IS NULL OR b.{name} IS NULL THEN 'inf'::DOUBLE "
        f"ELSE abs(a.{name} - b.{name}) / greatest(abs(a.{name}), abs(b.{name}), 1e-300) END), "
        f"count(*) FILTER (WHERE a.{name} IS DISTINCT FROM b.{name})"
        for _, name in named
    )
    a, b = (numbered.format(f"{key}, {columns}", path) for path in (first, other))
    misplaced, rows, *found = connection.sql(
        f"SELECT count(*) FILTER (WHERE a.account IS DISTINCT FROM b.account OR a.paid_at IS DISTINCT FROM b.paid_at), count(*), {differs} "
        f"FROM {a} a FULL JOIN {b} b USING (row)"
    ).fetchall()[0]
    print(f"  {other} against {first}: {rows} rows")
    right = misplaced == 0
    if misplaced:
        print(f"    {misplaced} rows ask something else")
    for at, (call, name) in enumerate(named):
        largest, count = found[2 * at : 2 * at + 2]
        right &= largest <= TOLERANCE[call]
        if count:
            print(f"    {name:<10} {count:>9} rows differ, by {largest:.1e} of the value at most{'' if largest <= TOLERANCE[call] else '  TOO MUCH'}")
    return right


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("first")
    arguments.add_argument("others", nargs="+")
    wanted = arguments.parse_args()
    connection = duckdb.connect()
    connection.sql("SET TimeZone = 'UTC'")
    sys.exit(0 if all([compare(connection, wanted.first, other) for other in wanted.others]) else 1)


if __name__ == "__main__":
    main()
