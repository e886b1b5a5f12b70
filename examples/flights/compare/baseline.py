"""The same features in DuckDB: what a nightly job writes for training, and what a cache holds that is two minutes late."""

# Per group of features: the table, the key, and each feature as (name, aggregate over the rows of its window, window). The longest window of a group comes last.
GROUPS = [
    ("departures", "origin", [
        ("origin_departures_1h", "count(e.flight_id)", "1 hour"),
        ("origin_late_departures_1h", "count(e.flight_id) FILTER (WHERE e.dep_delay > 15 {inside})", "1 hour"),
        ("origin_dep_delay_1h", "avg(e.dep_delay)", "1 hour"),
        ("origin_dep_delay_1d", "avg(e.dep_delay)", "1 day"),
    ]),
    ("arrivals", "origin", [
        ("origin_arr_delay_6h", "avg(e.arr_delay)", "6 hours"),
        ("origin_late_share_6h", "avg(CASE WHEN e.flight_id IS NULL THEN NULL WHEN e.arr_delay > 15 THEN 1.0 ELSE 0.0 END)", "6 hours"),
    ]),
    ("arrivals", "carrier", [
        ("carrier_arr_delay_1d", "avg(e.arr_delay)", "1 day"),
        ("carrier_late_share_7d", "avg(CASE WHEN e.flight_id IS NULL THEN NULL WHEN e.arr_delay > 15 THEN 1.0 ELSE 0.0 END)", "7 days"),
    ]),
    ("departures", "tailnum", [
        ("plane_departures_1d", "count(e.flight_id)", "1 day"),
        ("plane_dep_delay_1d", "avg(e.dep_delay)", "1 day"),
    ]),
    ("arrivals", "origin, dest", [
        ("route_arr_delay_7d", "avg(e.arr_delay)", "7 days"),
        ("route_late_share_30d", "avg(CASE WHEN e.flight_id IS NULL THEN NULL WHEN e.arr_delay > 15 THEN 1.0 ELSE 0.0 END)", "30 days"),
    ]),
]
# Of the request alone.
HOUR = "date_part('hour', s.scheduled_at AT TIME ZONE 'UTC' AT TIME ZONE 'America/New_York')"

FEATURES = [name for _, _, features in GROUPS for name, _, _ in features] + ["scheduled_hour"]


def features(spine, known, late="0 minutes"):
    """A query for the features of each row of the table `spine`, in the order of its `row`, as of its request_time less `late`. Rows of a window are those that happened in it; with `known`, a column
    that says when a row was, only those that were known at that moment, which is what anything that serves can see."""
    joins, columns = [], []
    for number, (table, key, of) in enumerate(GROUPS):
        columns += [f"g{number}.{name}" for name, _, _ in of]
        joins.append(f"JOIN ({group(spine, table, key, of, known, late)}) g{number} USING (row)")
    return f"SELECT s.row, {', '.join(columns)}, {HOUR} AS scheduled_hour FROM {spine} s\n" + "\n".join(joins) + "\nORDER BY s.row"


def group(spine, table, key, of, known, late):
    """Each row with the events of the longest window, which are then aggregated window by window."""
    at = f"(s.request_time - INTERVAL '{late}')"
    longest = of[-1][2]
    keys = " AND ".join(f"e.{part} = s.{part}" for part in key.split(", "))
    known = f" AND e.{known} <= {at}" if known else ""
    calls = []
    for name, call, window in of:
        inside = f"e.departed_at >= {at} - INTERVAL '{window}'"
        if "{inside}" in call:
            call = call.replace("{inside}", f"AND {inside}")
        elif window != longest:
            call = f"{call} FILTER (WHERE {inside})"
        calls.append(f"{call} AS {name}")
    return (
        f"SELECT s.row, {', '.join(calls)} FROM {spine} s LEFT JOIN {table} e\n"
        f"  ON {keys} AND e.departed_at <= {at} AND e.departed_at >= {at} - INTERVAL '{longest}'{known}\n  GROUP BY s.row"
    )
