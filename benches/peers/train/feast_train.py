"""What Feast can do of it: join features that something else has computed, as of the spine's moments. Feast has no windows.

`precompute` makes them, by Polars: the 20 features at each event. They are those of the moment of the last event before the spine's,
so that they do not decay: a window that has emptied since still has its old values. Only `join` is Feast's own, and measured.
"""

import argparse
import os
import tempfile
from datetime import timedelta
from pathlib import Path

from features import names


def precompute(directory):
    import polars as pl

    from polars_train import AGGREGATES, LENGTHS

    rows = pl.scan_parquet(directory / "events.parquet").select("account", "paid_at", "amount").sort("account", "paid_at").collect()
    columns = [rows.select("account", "paid_at")]
    for name, length in LENGTHS.items():
        windows = rows.rolling("paid_at", period=length, closed="both", group_by="account")
        columns.append(windows.agg(**{f"{call}_{name}": value for call, value in AGGREGATES.items()}).drop("account", "paid_at"))
    pl.concat(columns, how="horizontal").write_parquet(directory / "precomputed.parquet", compression="zstd")


def join(directory, offline_store):
    os.environ["FEAST_USAGE"] = "False"
    import pandas as pd
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast.types import Float64, Int64

    with tempfile.TemporaryDirectory() as repository:
        config = RepoConfig(
            project="peers",
            provider="local",
            registry=f"{repository}/registry.db",
            offline_store={"type": offline_store},
            online_store={"type": "sqlite", "path": f"{repository}/online.db"},
            entity_key_serialization_version=3,
        )
        store = FeatureStore(config=config)
        account = Entity(name="account", join_keys=["account"], value_type=ValueType.INT64)
        view = FeatureView(
            name="account_activity",
            entities=[account],
            ttl=timedelta(days=90),
            schema=[Field(name=name, dtype=Int64 if name.startswith("count") else Float64) for name in names()],
            source=FileSource(path=str((directory / "precomputed.parquet").resolve()), timestamp_field="paid_at"),
        )
        store.apply([account, view])
        spine = pd.read_parquet(directory / "spine.parquet").rename(columns={"paid_at": "event_timestamp"})
        found = store.get_historical_features(entity_df=spine, features=[f"account_activity:{name}" for name in names()])
        result = found.to_arrow().to_pandas().rename(columns={"event_timestamp": "paid_at"})
        result.to_parquet(directory / f"feast_{offline_store}.parquet", compression="zstd")


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("directory", type=Path)
    arguments.add_argument("form", choices=["precompute", "dask", "duckdb"])
    wanted = arguments.parse_args()
    if wanted.form == "precompute":
        precompute(wanted.directory)
    else:
        join(wanted.directory, wanted.form)


if __name__ == "__main__":
    main()
