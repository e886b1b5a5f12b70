"""Writes feast.csv: what Feast itself answers for its driver statistics, with a time to live of a day.

    pip install 'feast[duckdb]==0.67.0' && python feast_answers.py …/shared/data/peers/feast/driver_stats.parquet >feast.csv

Of its offline stores that need no service, dask and DuckDB, the second is written down; the first must say the same of each row that it gives. It
leaves out the rows of the spine for which there is nothing within the time to live.
"""

import os
import random
import sys
import tempfile
from datetime import timedelta

os.environ["FEAST_USAGE"] = "False"
import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Float32, Int32

FEATURES = ["conv_rate", "acc_rate", "avg_daily_trips"]
TTL = timedelta(days=1)
MICROSECOND = timedelta(microseconds=1)


def spine(statistics):
    """For each driver: before the first row, at rows and a microsecond beside, around the end of the last row's life, and at random."""
    rng, rows = random.Random(7), []
    for driver, own in statistics.groupby("driver_id"):
        times = sorted(set(own["event_timestamp"]))
        twice = own[own.duplicated("event_timestamp")]["event_timestamp"].tolist()
        moments = [times[0] - MICROSECOND, times[-1] + TTL - MICROSECOND, times[-1] + TTL, times[-1] + TTL + MICROSECOND, times[-1] + 3 * TTL]
        for time in rng.sample(times, 6) + twice + [times[0], times[-1]]:
            moments += [time - MICROSECOND, time, time + MICROSECOND]
        # The first row is a year before the others.
        moments += [times[1] + (times[-1] - times[1]) * rng.random() for _ in range(6)]
        rows += [(driver, moment.floor("us")) for moment in moments]
    rows += [(9999, moments[5])]
    return pd.DataFrame(rows, columns=["driver_id", "event_timestamp"]).drop_duplicates()


def answers(path, offline_store, wanted):
    with tempfile.TemporaryDirectory() as repository:
        store = FeatureStore(
            config=RepoConfig(
                project="peers",
                provider="local",
                registry=f"{repository}/registry.db",
                offline_store={"type": offline_store},
                online_store={"type": "sqlite", "path": f"{repository}/online.db"},
                entity_key_serialization_version=3,
            )
        )
        driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
        view = FeatureView(
            name="driver_stats",
            entities=[driver],
            ttl=TTL,
            schema=[Field(name="conv_rate", dtype=Float32), Field(name="acc_rate", dtype=Float32), Field(name="avg_daily_trips", dtype=Int32)],
            source=FileSource(path=os.path.abspath(path), timestamp_field="event_timestamp", created_timestamp_column="created"),
        )
        store.apply([driver, view])
        found = store.get_historical_features(entity_df=wanted, features=[f"driver_stats:{name}" for name in FEATURES]).to_df()
    return found.sort_values(["driver_id", "event_timestamp"])[["driver_id", "event_timestamp", *FEATURES]].reset_index(drop=True)


def main():
    path = sys.argv[1]
    wanted = spine(pd.read_parquet(path))
    dask, duckdb = (answers(path, store, wanted) for store in ("dask", "duckdb"))
    assert len(duckdb) == len(wanted)
    both = dask.merge(duckdb, on=["driver_id", "event_timestamp"], suffixes=("", "_again"))
    assert len(both) == len(dask)
    for name in FEATURES:
        assert ((both[name] == both[f"{name}_again"]) | (both[name].isna() & both[f"{name}_again"].isna())).all(), name
    print("driver_id,moment,conv_rate,acc_rate,avg_daily_trips")
    for row in duckdb.itertuples(index=False):
        values = ["" if pd.isna(value) else str(value) for value in (row.conv_rate, row.acc_rate)]
        trips = "" if pd.isna(row.avg_daily_trips) else str(int(row.avg_daily_trips))
        moment = row.event_timestamp.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        print(",".join([str(row.driver_id), moment, *values, trips]))


if __name__ == "__main__":
    main()
