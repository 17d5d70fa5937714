"""Digits of the standard deviation where the mean is large beside it, of every engine and way."""

import data
import exact
from task import Task

ROWS, COLUMNS, BATCHES = 100_000, 4, 10
SETS = [("f64", 1e9), ("f64", 1e8), ("f32", 1e6), ("f32", 1e3)]
# (way, kind of task, engines)
WAYS = [
    ("rows", "moments_rows", ("numpy", "onedal", "jax")),
    (
        "columns",
        "moments_columns",
        ("millstream", "numpy", "polars", "duckdb", "pyarrow", "pandas", "bottleneck", "datafusion"),
    ),
    ("batches", "micro_moments", ("millstream", "numpy", "onedal", "sklearn", "jax")),
    ("row at a time", "online_moments", ("millstream", "river")),
]


def name(dtype, mean):
    """As the heading of a column."""
    return f"{dtype} {mean:.0e} ± 1".replace("e+0", "e")


def task(way, kind, dtype, mean):
    """Exact sums are affordable at this size."""

    def prepare():
        path = data.hard(f"{mean:.0e}", ROWS, COLUMNS, mean, dtype)
        return {"columns": path}, exact.moments(path, dtype, ROWS, COLUMNS, exactly=True)

    return Task(
        name=f"accuracy-{way}-{name(dtype, mean)}",
        group="accuracy",
        title=name(dtype, mean),
        kind=kind,
        peers=(),
        ours=(),
        ahead=0,
        prepare=prepare,
        digits=exact.std_digits,
        rows=ROWS,
        columns=COLUMNS,
        dtype=dtype,
        parameters={"batches": BATCHES},
    )


def sets():
    """(way, engines, one task a set)."""
    for way, kind, engines in WAYS:
        yield way, engines, [task(way, kind, dtype, mean) for dtype, mean in SETS]
