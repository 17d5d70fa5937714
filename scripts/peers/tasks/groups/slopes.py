"""Row-by-row results that look at neighbours only."""

import data
import exact
from task import Task, right, rows, size

# (peers, limits, ratio that is clearly ahead)
STATISTICS = {
    "difference": (("numpy", "polars", "pandas", "jax"), ("numba",), 2),
    "gradient": (("numpy", "jax"), ("numba",), 5),
}


def task(statistic, dtype):
    """Results as long as the input, or shorter by one."""
    peers, limits, ahead = STATISTICS[statistic]
    full = 10**7
    n = rows(full)

    def prepare():
        path = data.curve(n, dtype)
        return {"columns": path}, exact.slopes(path, dtype, n, statistic)

    return Task(
        name=f"{statistic}-{dtype}",
        group="slopes",
        title=f"{'differences' if statistic == 'difference' else 'central gradient'}, {size(full)} {dtype}",
        kind=statistic,
        peers=peers,
        ours=("millstream",),
        ahead=ahead,
        prepare=prepare,
        digits=exact.places_digits,
        rows=n,
        columns=1,
        dtype=dtype,
        right=right(dtype),
        limits=limits,
    )


def tasks():
    """In the order of the table."""
    for statistic in STATISTICS:
        for dtype in ("f32", "f64"):
            yield task(statistic, dtype)
