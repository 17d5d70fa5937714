"""Micro-batches: 10,000 rows at a time, taken into one running result."""

import data
import exact
from task import Task, right, rows, size

BATCH_ROWS = 10_000
PEERS = ("numpy", "onedal", "sklearn", "jax")


def task(d, dtype, statistic, ahead):
    """100 batches; a smaller trial has fewer of the same length."""
    n = max(rows(10**6) // BATCH_ROWS, 2) * BATCH_ROWS
    is_moments = statistic == "moments"

    def prepare():
        path = data.matrix(n, d, dtype)
        reference = exact.moments if is_moments else exact.covariance
        return {"columns": path}, reference(path, dtype, n, d)

    title = "mean and variance" if is_moments else "covariance"
    return Task(
        name=f"micro-{statistic}-{size(BATCH_ROWS)}x{d}-{dtype}",
        group="micro",
        title=f"micro-batches {size(BATCH_ROWS)} × {d} {dtype}, {title}",
        kind=f"micro_{statistic}",
        peers=PEERS if is_moments else tuple(p for p in PEERS if p != "sklearn"),
        ours=("millstream",) if dtype == "f64" or is_moments else ("millstream", "millstream/fast"),
        ahead=ahead,
        prepare=prepare,
        digits=exact.moments_digits if is_moments else exact.covariance_digits,
        rows=n,
        columns=d,
        dtype=dtype,
        right=right(dtype),
        # A product of a batch with two threads of BLAS takes four times as long as with one.
        threads=1,
        parameters={"batches": n // BATCH_ROWS},
    )


def tasks():
    """In the order of the table."""
    for d, statistic, dtypes, ahead in [
        (8, "moments", ("f32", "f64"), 3),
        (8, "covariance", ("f32", "f64"), 2.5),
        (64, "moments", ("f64",), 2),
        (64, "covariance", ("f64",), 2),
    ]:
        for dtype in dtypes:
            yield task(d, dtype, statistic, ahead)
