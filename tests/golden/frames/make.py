#!/usr/bin/env python3
"""Every frame with every aggregate over ties, NULLs, edges and days on which clocks are turned: a project whose tests expect values made with exact fractions.

    python3 tests/golden/frames/make.py

writes feature_defs/frames.sql and feature_defs/frames.test beside itself, the same text every time. `lockstep --project tests/golden/frames test` runs it. Standard
library only; nothing is shared with what it tests. Frames are evaluated by looking at every event, values by their definitions.
"""

import json
import math
import struct
from datetime import datetime, timedelta, timezone
from fractions import Fraction
from pathlib import Path
from zoneinfo import ZoneInfo

HERE = Path(__file__).parent
UTC = timezone.utc
MICRO = timedelta(microseconds=1)


# ---------------------------------------------------------------- exact arithmetic

def to_float(q):
    """The nearest float, half to even: division of integers rounds correctly in Python."""
    return q.numerator / q.denominator


def root_to_float(q):
    """The float nearest to √q, found by comparing squares."""
    if q == 0:
        return 0.0
    scale = max(0, 140 - (q.numerator.bit_length() - q.denominator.bit_length()))
    scale += scale % 2
    guess = to_float(Fraction(math.isqrt((q.numerator << scale) // q.denominator), 1 << (scale // 2)))
    best = None
    for candidate in (math.nextafter(guess, 0.0), guess, math.nextafter(guess, math.inf)):
        # √q lies above the midpoint between two neighbours iff q > midpoint².
        middle = best is not None and ((Fraction(best) + Fraction(candidate)) / 2) ** 2
        if best is None or q > middle or (q == middle and struct.pack(">d", candidate)[-1] % 2 == 0):
            best = candidate
    return best


# ---------------------------------------------------------------- frames: which events count at a moment

def sliding(back, until=timedelta(0)):
    return lambda events, t: [e for e in events if t - back <= e["at"] <= t - until]


def last(n, skip=0):
    def choose(events, t):
        seen = [e for e in events if e["at"] <= t]
        end = len(seen) - skip
        return seen[max(0, end - n):max(0, end)]
    return choose


def ever(events, t):
    return [e for e in events if e["at"] <= t]


def since(unit, zone):
    zone = ZoneInfo(zone)

    def start(moment):
        local = moment.astimezone(zone).replace(tzinfo=None)
        return local.replace(minute=0, second=0, microsecond=0) if unit == "hour" else local.replace(hour=0, minute=0, second=0, microsecond=0)

    def choose(events, t):
        # The run of instants up to t that have t's boundary: local days that never were (Apia) or hours that occur twice are what the zone says.
        return [e for e in events if e["at"] <= t and start(e["at"]) == start(t) and unbroken(e["at"], t, start)]
    return choose


def unbroken(early, late, start):
    step = timedelta(minutes=5)
    while early < late:
        if start(early) != start(late):
            return False
        early = min(early + step, late)
    return True


def hours(n):
    return timedelta(hours=n)


FRAMES = [
    ("h1", "RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW", None, sliding(hours(1))),
    ("d1", "RANGE BETWEEN INTERVAL '1 day' PRECEDING AND CURRENT ROW", None, sliding(hours(24))),
    ("before", "RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND INTERVAL '1 microsecond' PRECEDING", None, sliding(hours(1), MICRO)),
    ("lagged", "RANGE BETWEEN INTERVAL '2 days' PRECEDING AND INTERVAL '1 day' PRECEDING", None, sliding(hours(48), hours(24))),
    ("until", "RANGE BETWEEN UNBOUNDED PRECEDING AND INTERVAL '2 hours' PRECEDING", None, lambda events, t: [e for e in events if e["at"] <= t - hours(2)]),
    ("ever", "RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW", None, ever),
    ("last3", "ROWS BETWEEN 2 PRECEDING AND CURRENT ROW", None, last(3)),
    ("earlier2", "ROWS BETWEEN 3 PRECEDING AND 2 PRECEDING", None, last(2, 2)),
    ("allrows", "ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW", None, ever),
    ("day_ny", "RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW", ("day", "America/New_York"), since("day", "America/New_York")),
    ("hour_lh", "RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW", ("hour", "Australia/Lord_Howe"), since("hour", "Australia/Lord_Howe")),
    ("day_apia", "RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW", ("day", "Pacific/Apia"), since("day", "Pacific/Apia")),
]


# ---------------------------------------------------------------- aggregates: what the events of a frame come to

def given(events, column):
    return [e[column] for e in events if e[column] is not None]


def mean(values):
    return sum(values, Fraction(0)) / len(values)


def spread(minus, finish):
    def value(events):
        values = [Fraction(x) for x in given(events, "x")]
        if len(values) <= minus:
            return None
        centre = mean(values)
        return finish(sum(((x - centre) ** 2 for x in values), Fraction(0)) / (len(values) - minus))
    return value


def some(column, finish):
    def value(events):
        values = given(events, column)
        return finish(values) if values else None
    return value


def edge(column, at):
    return lambda events: events[at][column] if events else None


AGGREGATES = [
    ("n", "count(*)", len),
    ("n_x", "count(x)", lambda events: len(given(events, "x"))),
    ("n_b", "count(*) FILTER (WHERE b)", lambda events: sum(1 for e in events if e["b"])),
    ("kinds", "count(DISTINCT s)", lambda events: len(set(given(events, "s")))),
    ("sum_x", "sum(x)", some("x", lambda xs: to_float(sum(map(Fraction, xs), Fraction(0))))),
    ("sum_i", "sum(i)", some("i", sum)),
    ("sum_d", "sum(d)", some("d", lambda ds: f"{sum(ds) / 100:.2f}")),
    ("sum_b", "sum(x) FILTER (WHERE b)", lambda events: some("x", lambda xs: to_float(sum(map(Fraction, xs), Fraction(0))))([e for e in events if e["b"]])),
    ("avg_x", "avg(x)", some("x", lambda xs: to_float(mean(list(map(Fraction, xs)))))),
    ("avg_i", "avg(i)", some("i", lambda xs: to_float(mean(list(map(Fraction, xs)))))),
    ("min_x", "min(x)", some("x", min)),
    ("max_i", "max(i)", some("i", max)),
    ("max_s", "max(s)", some("s", max)),
    ("var_x", "var_samp(x)", spread(1, to_float)),
    ("varp_x", "var_pop(x)", spread(0, to_float)),
    ("dev_x", "stddev(x)", spread(1, root_to_float)),
    ("devp_x", "stddev_pop(x)", spread(0, root_to_float)),
    ("all_b", "bool_and(b)", some("b", all)),
    ("any_b", "bool_or(b)", some("b", any)),
    ("first_i", "first_value(i)", edge("i", 0)),
    ("last_s", "last_value(s)", edge("s", -1)),
    ("last_x", "last_value(x) IGNORE NULLS", some("x", lambda xs: xs[-1])),
]


# ---------------------------------------------------------------- events and moments

def numbers(seed):
    while True:
        seed = (seed * 6364136223846793005 + 1442695040888963407) % 2**64
        yield seed >> 33


def events_around(base, count, seed):
    """Ties, gaps of minutes and hours, NULLs; in the order of (time, key)."""
    draw = numbers(seed)
    events, at = [], base
    for _ in range(count):
        step = [timedelta(0), MICRO, timedelta(minutes=7), timedelta(minutes=30), hours(1), hours(5), hours(13)][next(draw) % 7]
        at = at + step
        pick = next(draw)
        events.append({
            "id": 0, "at": at,
            "x": None if pick % 6 == 0 else [0.1, 0.2, -0.3, 1e16, -1e16, 3.25, 1e-9, 123456.789][pick // 7 % 8],
            "i": None if pick % 5 == 1 else pick // 11 % 19 - 9,
            "d": None if pick % 7 == 2 else pick // 13 % 4001 - 2000,
            "s": None if pick % 4 == 3 else ["a", "b", "ab", "", "ß"][pick // 17 % 5],
            "b": None if pick % 5 == 4 else pick // 19 % 3 == 0,
        })
    return events


CASES = [
    ("plain", datetime(2024, 3, 5, 9, tzinfo=UTC), 30),
    ("spring", datetime(2013, 3, 9, 20, tzinfo=UTC), 30),     # New York: 23 hours on the 10th
    ("autumn", datetime(2013, 11, 2, 20, tzinfo=UTC), 30),    # New York: 25 hours on the 3rd
    ("howe", datetime(2013, 4, 6, 13, tzinfo=UTC), 30),       # Lord Howe: half an hour back
    ("howe2", datetime(2013, 10, 5, 14, tzinfo=UTC), 30),     # and forth
    ("apia", datetime(2011, 12, 29, 2, tzinfo=UTC), 30),      # Apia: no 30 December
]


def moments(events):
    asked = set()
    for e in events[::3]:
        for shift in [timedelta(0), hours(1), hours(24), hours(2)]:
            asked.update(e["at"] + shift + delta for delta in (-MICRO, timedelta(0), MICRO))
    ordered = sorted(asked)
    # Every seventh, so that all kinds of edges have their turn and the file stays readable.
    return ordered[::7]


# ---------------------------------------------------------------- the project

def stamp(moment):
    text = moment.strftime("%Y-%m-%dT%H:%M:%S")
    return text + (f".{moment.microsecond:06d}" if moment.microsecond else "") + "Z"


def cell(value):
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\\", "\\\\") if value == "" else value
    return repr(value)


def shown(value):
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value if value and (value[0].isdigit() or value[0] == "-") and value[-1].isdigit() else json.dumps(value, ensure_ascii=False)
    return repr(value)


def window(frame):
    name, text, calendar, _ = frame
    period = ""
    if calendar:
        unit, zone = calendar
        period = f", date_trunc('{unit}', at AT TIME ZONE 'UTC' AT TIME ZONE '{zone}')"
    return f"{name} AS (PARTITION BY k{period} ORDER BY at {text})"


def sql():
    features = [f"       {call} OVER {frame[0]} AS {frame[0]}_{name}" for frame in FRAMES for name, call, _ in AGGREGATES]
    return "\n".join([
        "-- Made by make.py: every frame with every aggregate.",
        "CREATE ENTITY k (k VARCHAR);",
        "CREATE SOURCE events (id BIGINT, k VARCHAR, x DOUBLE, i BIGINT, d DECIMAL(12, 2), s VARCHAR, b BOOLEAN, at TIMESTAMP, PRIMARY KEY (id))",
        "WITH (event_time = 'at', allowed_lateness = 'unbounded', history = 'all');",
        "",
        "CREATE FEATURE VIEW frames ENTITY k WITH (limit = 1000) AS",
        "SELECT k,",
        ",\n".join(features),
        "FROM events",
        "WINDOW " + ",\n       ".join(window(frame) for frame in FRAMES) + ";",
        "",
    ])


def test():
    out = ["-- Made by make.py with exact fractions.", "", "events events", "  id, k, x, i, d, s, b, at"]
    cases = []
    number = 0
    for seed, (key, base, count) in enumerate(CASES):
        events = events_around(base, count, seed + 1)
        for e in events:
            number += 1
            e["id"] = number
        cases.append((key, events))
    rows = [(key, e) for key, events in cases for e in events]
    # In no order: by a stride that meets each once.
    for place in range(len(rows)):
        key, e = rows[place * 77 % len(rows)]
        d = "" if e["d"] is None else f"{e['d'] / 100:.2f}"
        cells = [str(e["id"]), key, cell(e["x"]), cell(e["i"]), d, '""' if e["s"] == "" else cell(e["s"]), cell(e["b"]), stamp(e["at"])]
        out.append("  " + ", ".join(cells))
    for key, events in cases:
        for t in moments(events):
            if t < events[0]["at"]:
                continue
            out += ["", f"at {stamp(t)}  k={key}"]
            for frame in FRAMES:
                chosen = frame[3](events, t)
                out += [f"  {frame[0]}_{name}  {shown(value(chosen))}" for name, _, value in AGGREGATES]
    return "\n".join(out) + "\n"


def main():
    (HERE / "feature_defs" / "frames.sql").write_text(sql())
    (HERE / "feature_defs" / "frames.test").write_text(test())


if __name__ == "__main__":
    main()
