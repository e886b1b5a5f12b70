"""Writes the benchmark's input: events and a spine in Parquet, and a Lockstep project over them.

Events are evenly spread over 90 days, in the order of their hours and shuffled within each. The spine asks in the last 60 of these
days; a tenth of its rows ask at the very moment of an event of the same account, which then counts.
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from features import WINDOWS, features

START = np.datetime64("2024-01-01T00:00:00", "us")
DAY = 24 * 3600 * 1_000_000
HOUR = 3600 * 1_000_000
SPAN = 90 * DAY
TIME = pa.timestamp("us", tz="UTC")
# A few row groups to each core.
ROW_GROUP = 1 << 18


def accounts(random, count, number, hot):
    """Which account each row belongs to; where one is hot, it has half of them."""
    keys = random.integers(0, number, count)
    return np.where(random.random(count) < 0.5, 0, keys) if hot else keys


def events(random, count, number, hot):
    offsets = np.sort(random.integers(0, SPAN, count))
    # Sorting by hour and a random number shuffles within the hour.
    offsets = offsets[np.lexsort((random.random(count), offsets // HOUR))]
    amounts = np.round(np.exp(random.normal(3, 1.5, count)), 2)
    return {
        "event_id": random.permutation(count),
        "account": accounts(random, count, number, hot),
        "amount": amounts,
        "paid_at": START + offsets.astype("timedelta64[us]"),
    }


def spine(random, count, number, hot, happened):
    asked = accounts(random, count, number, hot)
    moments = START + np.sort(random.integers(30 * DAY, SPAN, count)).astype("timedelta64[us]")
    # These ask at the moment of an event.
    own = random.integers(0, len(happened["paid_at"]), count // 10)
    rows = random.choice(count, len(own), replace=False)
    asked[rows], moments[rows] = happened["account"][own], happened["paid_at"][own]
    return {"account": asked, "paid_at": moments, "label": random.random(count) < 0.2}


def write(path, columns):
    arrays = {name: pa.array(values, TIME) if name == "paid_at" else pa.array(values) for name, values in columns.items()}
    pq.write_table(pa.table(arrays), path, compression="zstd", row_group_size=ROW_GROUP)


def project(directory):
    """The same 20 features for Lockstep."""
    definitions = directory / "feature_defs"
    definitions.mkdir(exist_ok=True)
    (directory / "lockstep.toml").write_text("")
    calls = ",\n       ".join(f"{call}(amount) OVER {window} AS {call}_{window}" for call, window in features())
    windows = ",\n       ".join(
        f"{name} AS (PARTITION BY account ORDER BY paid_at RANGE BETWEEN INTERVAL '{length}' PRECEDING AND CURRENT ROW)"
        for name, length in WINDOWS.items()
    )
    (definitions / "account_activity.sql").write_text(
        f"""CREATE ENTITY account (account BIGINT);

CREATE SOURCE events (event_id BIGINT, account BIGINT, amount DOUBLE, paid_at TIMESTAMP, PRIMARY KEY (event_id))
WITH (event_time = 'paid_at', allowed_lateness = '1 hour', history = 'all', batch = 'events.parquet');

CREATE FEATURE VIEW account_activity ENTITY account AS
SELECT account,
       {calls}
FROM events
WINDOW {windows};
"""
    )
    selected = ",\n       ".join(f"a.{call}_{window}" for call, window in features())
    (definitions / "peers_v1.sql").write_text(
        f"""CREATE FEATURE SERVICE peers_v1 AS
SELECT {selected}
FROM REQUEST (account BIGINT) r
LEFT JOIN account_activity a ON a.account = r.account;
"""
    )


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("directory", type=Path)
    arguments.add_argument("--events", type=int, required=True)
    arguments.add_argument("--spine", type=int, required=True)
    arguments.add_argument("--accounts", type=int, required=True)
    arguments.add_argument("--hot", action="store_true", help="one account has half of the events and half of the spine")
    wanted = arguments.parse_args()
    wanted.directory.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(7)
    happened = events(random, wanted.events, wanted.accounts, wanted.hot)
    write(wanted.directory / "events.parquet", happened)
    write(wanted.directory / "spine.parquet", spine(random, wanted.spine, wanted.accounts, wanted.hot, happened))
    project(wanted.directory)


if __name__ == "__main__":
    main()
