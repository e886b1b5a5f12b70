"""Compares what a model is trained on with what it is served, by each way of making features, and what that does to it."""

import argparse
import time
from importlib.metadata import version
from pathlib import Path

import duckdb
import numpy as np
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import baseline
from baseline import FEATURES

# Sums in another order may differ in their last digits: that is no skew.
TOLERANCE = 1e-9
CACHE_LATE = "2 minutes"
RESAMPLES, SEED = 500, 2013

EVENT, KNOWN, LOCKSTEP = "SQL by event time", "SQL by what was known", "Lockstep"
# What each takes for the moment at which an arrival was known, where some are recorded late.
BELIEFS = {"known_at": "by arrival", "recorded_at": "by record"}


class Way:
    """One way of making features: values to learn from, and those of July's flights as training would have them and as they were served."""

    def __init__(self, name, learn, trained, served):
        self.name, self.learn, self.trained, self.served = name, learn, trained, served


def matrix(connection, query):
    columns = connection.sql(f"SELECT {', '.join(f'{name}::DOUBLE AS {name}' for name in FEATURES)} FROM ({query})").fetchnumpy()
    return np.column_stack([np.ma.filled(np.ma.asarray(columns[name], dtype=float), np.nan) for name in FEATURES])


def by_sql(connection, name, known, recorded="known_at"):
    """What a nightly job computes for training, and what a cache holds that is some minutes late: it can only hold what was recorded by then."""
    learn = matrix(connection, baseline.features("learn", known))
    trained = matrix(connection, baseline.features("ask", known))
    served = matrix(connection, baseline.features("ask", recorded, CACHE_LATE))
    return Way(name, learn, trained, served)


def by_lockstep(connection, name, trained_in, served_in):
    """Two training sets, and the answers that were given while July happened."""
    learn, trained = (matrix(connection, f"FROM read_parquet('{trained_in}/{of}/part-*.parquet')") for of in ["learned", "asked"])
    answers = f"SELECT number, unnest(value) FROM read_parquet('{served_in}/answers/*.parquet') ORDER BY number"
    return Way(name, learn, trained, matrix(connection, answers))


def late(connection, out):
    """The ways where some arrivals are recorded late. A server has what was recorded by then, whatever its definitions believe, so that both ways of Lockstep are served the same."""
    ways = [by_sql(connection, f"SQL {name}", known, "recorded_at") for known, name in BELIEFS.items()]
    return ways + [by_lockstep(connection, f"Lockstep {name}", of, out / "late") for name, of in zip(BELIEFS.values(), [out, out / "late"])]


def differ(a, b):
    """Which values are others."""
    missing = np.isnan(a) | np.isnan(b)
    near = np.abs(a - b) <= TOLERANCE * np.maximum(np.abs(a), np.abs(b))
    return np.where(missing, np.isnan(a) != np.isnan(b), ~near)


def scores(way, labels):
    """What the model says of July's flights, by the values of training and by those that were served."""
    model = make_pipeline(SimpleImputer(strategy="median"), StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(way.learn, labels)
    return model.predict_proba(way.trained)[:, 1], model.predict_proba(way.served)[:, 1]


def spread(labels, a, b):
    """The standard error of the difference of two AUCs on the same flights, by drawing flights again."""
    draws = np.random.default_rng(SEED).integers(0, len(labels), (RESAMPLES, len(labels)))
    return float(np.std([roc_auc_score(labels[draw], a[draw]) - roc_auc_score(labels[draw], b[draw]) for draw in draws]))


def table(head, rows):
    widths = [max(len(row[at]) for row in [head, *rows]) for at in range(len(head))]
    align = [str.ljust] + [str.rjust] * (len(head) - 1)
    line = lambda row: "  ".join(to(cell, width) for to, cell, width in zip(align, row, widths)).rstrip()
    return "\n".join("  " + line(row) for row in [head, *rows])


def markdown(head, rows):
    bars = ["---"] + ["--:"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, bars, *rows])


def percent(share):
    return f"{100 * share:.2f} %"


def picture(names, shares):
    """A bar for each feature and way: the share of its values that differ."""
    colours, left, width, bar = ["#c0504d", "#e0a030", "#2a7f5f"], 230, 420, 9
    height = len(names) * (3 * bar + 10) + 50
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 70}" height="{height}" font-family="sans-serif" font-size="12">', '<rect width="100%" height="100%" fill="white"/>']
    for number, (way, _) in enumerate(shares):
        parts.append(f'<rect x="{10 + 200 * number}" y="12" width="12" height="12" fill="{colours[number]}"/><text x="{27 + 200 * number}" y="23">{way}</text>')
    for at, name in enumerate(names):
        top = 42 + at * (3 * bar + 10)
        parts.append(f'<text x="{left - 8}" y="{top + 18}" text-anchor="end">{name}</text>')
        for number, (_, share) in enumerate(shares):
            y, length = top + number * bar, max(width * share[at], 1)
            parts.append(f'<rect x="{left}" y="{y}" width="{length:.1f}" height="{bar - 1}" fill="{colours[number]}"/>')
            parts.append(f'<text x="{left + length + 4:.1f}" y="{y + bar - 1}" font-size="9">{100 * share[at]:.1f} %</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def report(ways, labels, asked):
    """The tables: what differs, and what the model comes to, beside the last of the ways."""
    differing = [differ(way.trained, way.served) for way in ways]
    shares = [(way.name, found.mean(axis=0)) for way, found in zip(ways, differing)]
    head = ["share of values that differ between training and serving", *(way.name for way in ways)]
    rows = [[name, *(percent(share[at]) for _, share in shares)] for at, name in enumerate(FEATURES)]
    rows.append(["all features", *(percent(found.mean()) for found in differing)])
    rows.append(["flights with a value that differs", *(percent(found.any(axis=1).mean()) for found in differing)])
    found = {way.name: scores(way, labels) for way in ways}
    last = ways[-1].name
    best = found[last][1]
    models = []
    for name, (trained, served) in found.items():
        promised, delivered = roc_auc_score(asked, trained), roc_auc_score(asked, served)
        behind = "" if name == last else f"{delivered - roc_auc_score(asked, best):+.4f} ± {spread(asked, served, best):.4f}"
        models.append([name, f"{promised:.4f}", f"{delivered:.4f}", f"{delivered - promised:+.4f}", behind])
    return shares, (head, rows), (["AUC on July", "promised: training's values", "delivered: values served", "lost", f"against {last}"], models)


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--data", type=Path, required=True)
    arguments.add_argument("--out", type=Path, required=True)
    wanted = arguments.parse_args()
    connection = duckdb.connect()
    for name in ["learn", "ask"]:
        connection.sql(f"CREATE TABLE {name} AS SELECT row_number() OVER () AS row, * FROM read_parquet('{wanted.out}/{name}.parquet')")
    connection.sql(f"CREATE TABLE departures AS SELECT *, departed_at AS known_at, departed_at AS recorded_at FROM '{wanted.data}/departures.parquet'")
    connection.sql(f"CREATE TABLE arrivals AS SELECT *, arrived_at AS known_at FROM '{wanted.out}/late/arrivals.parquet'")
    labels, asked = (connection.sql(f"SELECT late FROM {name} ORDER BY row").fetchnumpy()["late"].astype(int) for name in ["learn", "ask"])
    began = time.monotonic()
    ways = [by_sql(connection, EVENT, None), by_sql(connection, KNOWN, "known_at"), by_lockstep(connection, LOCKSTEP, wanted.out, wanted.out)]
    ways_late = late(connection, wanted.out)
    seconds = time.monotonic() - began
    for way in ways + ways_late:
        assert way.learn.shape == (len(labels), len(FEATURES)) and way.trained.shape == way.served.shape == (len(asked), len(FEATURES)), way.name
    shares, differs, models = report(ways, labels, asked)
    _, differs_late, models_late = report(ways_late, labels, asked)
    ((share,),) = connection.sql("SELECT count(*) FILTER (WHERE recorded_at > arrived_at) / count(*) FROM arrivals").fetchall()
    what_is_late = f"Where {percent(share)} of the arrivals are recorded up to six hours late, which is made up, and which a server waits for whatever its definitions say:"
    agree = differ(ways[1].learn, ways[2].learn).mean()
    lockstep = ways[2]
    bits = int((lockstep.trained.view(np.uint64) != lockstep.served.view(np.uint64)).sum())
    made = (
        f"{len(labels):,} flights of February to June to learn from, {len(asked):,} of the four weeks after to be asked about, {100 * asked.mean():.1f} % of them late. DuckDB {version('duckdb')}, "
        f"scikit-learn {version('scikit-learn')}: medians for what is missing, scaled, logistic regression. Of the values to learn from, those by SQL by what was known and those by Lockstep differ in {percent(agree)}. "
        f"Of Lockstep's {lockstep.served.size:,} values that were served, {bits:,} differ from training's in any bit."
    )
    print("\n" + table(*differs) + "\n\n" + table(*models) + f"\n\n{made}\n\n{what_is_late}\n\n" + table(*differs_late) + "\n\n" + table(*models_late) + f"\n(DuckDB took {seconds:.0f} s)")
    sections = [markdown(*models), markdown(*differs), made, what_is_late, markdown(*models_late), markdown(*differs_late)]
    (wanted.out / "result.md").write_text("\n\n".join(sections) + "\n")
    (wanted.out / "result.svg").write_text(picture([*FEATURES], shares))


if __name__ == "__main__":
    main()
