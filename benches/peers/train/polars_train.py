"""The training set by Polars: events and spine in one frame, sorted, rolling kernels over it, and of the result the spine."""

import argparse
from pathlib import Path

import polars as pl

from features import CALLS, features

LENGTHS = {"h1": "1h", "h24": "24h", "d7": "7d", "d30": "30d"}
amount = pl.col("amount")
# `sum` of no values is 0 in Polars, and NULL in SQL.
AGGREGATES = {
    "count": amount.count(),
    "sum": pl.when(amount.count() > 0).then(amount.sum()),
    "avg": amount.mean(),
    "min": amount.min(),
    "max": amount.max(),
}


def both(directory):
    """Sorted by account and time, events before what asks at their moment."""
    happened = pl.scan_parquet(directory / "events.parquet").select("account", "paid_at", "amount", label=None, asks=False)
    asked = pl.scan_parquet(directory / "spine.parquet").select("account", "paid_at", amount=None, label="label", asks=True)
    rows = pl.concat([happened, asked], how="vertical_relaxed")
    return rows.sort("account", "paid_at", "asks")


def rolling(directory, engine):
    """`DataFrame.rolling`, once a window."""
    rows = both(directory).collect(engine=engine)
    columns = [rows.select("account", "paid_at", "label")]
    for name, length in LENGTHS.items():
        calls = [AGGREGATES[call].alias(f"{call}_{name}") for call in CALLS]
        windows = rows.rolling("paid_at", period=length, closed="both", group_by="account")
        columns.append(windows.agg(calls).drop("account", "paid_at"))
    return pl.concat(columns, how="horizontal").filter(rows["asks"])


def rolling_by(directory, engine):
    """`rolling_*_by(…).over(account)`, once a feature."""
    def call(name, window):
        options = {"window_size": LENGTHS[window], "closed": "both", "min_samples": 1}
        if name == "count":
            return amount.is_not_null().cast(pl.Int64).rolling_sum_by("paid_at", **options)
        return getattr(amount, f"rolling_{'mean' if name == 'avg' else name}_by")("paid_at", **options)

    calls = [call(name, window).over("account").alias(f"{name}_{window}") for name, window in features()]
    rows = both(directory).with_columns(calls).filter("asks").drop("amount", "asks")
    return rows.collect(engine=engine)


def main():
    forms = {"rolling": rolling, "rolling_by": rolling_by}
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("directory", type=Path)
    arguments.add_argument("form", choices=forms)
    arguments.add_argument("--engine", default="streaming", choices=["streaming", "in-memory"])
    wanted = arguments.parse_args()
    result = forms[wanted.form](wanted.directory, wanted.engine)
    result.write_parquet(wanted.directory / f"polars_{wanted.form}.parquet", compression="zstd")


if __name__ == "__main__":
    main()
