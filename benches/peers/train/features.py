"""The 20 features that everyone computes: five aggregates of `amount` over four windows."""

CALLS = ["count", "sum", "avg", "min", "max"]
# Closed at both ends: t − length ≤ event time ≤ t.
WINDOWS = {"h1": "1 hour", "h24": "24 hours", "d7": "7 days", "d30": "30 days"}


def features():
    """(aggregate, window) of each feature, in the order of the columns."""
    return [(call, window) for window in WINDOWS for call in CALLS]


def names():
    return [f"{call}_{window}" for call, window in features()]
