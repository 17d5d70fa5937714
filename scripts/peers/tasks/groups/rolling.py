"""Rolling statistics of 10M values, with a burst of 1e8 early on that states which subtract do not survive."""

import data
import exact
from task import Task, rows, size

# (peers, ratio that is clearly ahead)
STATISTICS = {
    "mean": (("polars", "pandas", "bottleneck", "numbagg"), 3),
    "variance": (("polars", "pandas", "bottleneck", "numbagg"), 4),
    "covariance": (("polars", "pandas", "numbagg"), 4),
}
# A mean over 10,000 values that has seen the burst go keeps some 1e-16 · 1e8 of it.
RIGHT = 6.0


def task(statistic, window):
    """Results from the first full window on; what stands before is not looked at."""
    peers, ahead = STATISTICS[statistic]
    full = 10**7
    n = rows(full)

    def prepare():
        path = data.walk(n, burst=True)
        return {"columns": path}, exact.rolling(path, n, statistic, window)

    return Task(
        name=f"rolling-{statistic}-{window}",
        group="rolling",
        title=f"rolling {statistic} w = {window:,}, {size(full)} f64",
        kind=f"rolling_{statistic}",
        peers=peers,
        ours=("millstream",),
        ahead=ahead,
        prepare=prepare,
        digits=exact.places_digits,
        rows=n,
        columns=2,
        right=RIGHT,
        parameters={"window": window},
    )


def tasks():
    """In the order of the table."""
    for statistic in STATISTICS:
        for window in (100, 10_000):
            yield task(statistic, window)
