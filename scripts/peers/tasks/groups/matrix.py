"""Moments and covariances of many rows in memory."""

import data
import exact
from task import Task, right, rows, size

ROW_PEERS = ("numpy", "onedal", "jax")
COLUMN_PEERS = ("polars", "duckdb", "pyarrow", "pandas", "bottleneck", "datafusion", "numpy")
WIDE_COLUMN_PEERS = ("polars", "duckdb", "pyarrow")


def moments_task(full, d, dtype, layout, peers, ahead):
    """Mean and variance of every column."""
    n = rows(full)

    def prepare():
        path = data.matrix(n, d, dtype)
        return {"columns": path}, exact.moments(path, dtype, n, d)

    return Task(
        name=f"moments-{layout}-{size(full)}x{d}-{dtype}",
        group="moments",
        title=f"mean and variance, {size(full)} × {d} {dtype}, peers by {layout}",
        kind=f"moments_{layout}",
        peers=peers,
        ours=("millstream",),
        ahead=ahead,
        prepare=prepare,
        digits=exact.moments_digits,
        rows=n,
        columns=d,
        dtype=dtype,
        right=right(dtype),
        limits=("limit",),
    )


def covariance_task(full, d, dtype, peers, ahead):
    """The covariance matrix; f32 of many columns is judged in `fast`."""
    n = rows(full)
    ours = ("millstream",) if dtype == "f64" else ("millstream", "millstream/fast")
    if dtype == "f32" and d >= 64:
        ours = ours[::-1]

    def prepare():
        path = data.matrix(n, d, dtype)
        return {"columns": path}, exact.covariance(path, dtype, n, d)

    return Task(
        name=f"covariance-{size(full)}x{d}-{dtype}",
        group="covariance",
        title=f"covariance, {size(full)} × {d} {dtype}",
        kind="covariance",
        peers=peers,
        ours=ours,
        ahead=ahead,
        prepare=prepare,
        digits=exact.covariance_digits,
        rows=n,
        columns=d,
        dtype=dtype,
        right=right(dtype),
        limits=("limit",),
    )


def tasks():
    """In the order of the table."""
    for full, d, layout, peers, ahead_f32, ahead_f64 in [
        (10**7, 8, "rows", ROW_PEERS, 2, 2),
        (10**7, 8, "columns", COLUMN_PEERS, 4, 4),
        (10**6, 64, "rows", ROW_PEERS, 2.5, 1.6),
        (10**6, 64, "columns", WIDE_COLUMN_PEERS, 2.5, 1.6),
    ]:
        for dtype, ahead in (("f32", ahead_f32), ("f64", ahead_f64)):
            yield moments_task(full, d, dtype, layout, peers, ahead)
    for full, d, ahead_f32, ahead_f64 in [
        (10**6, 8, 4, 4),
        (10**6, 64, 2, 2),
        (2 * 10**5, 256, 1.5, 1.5),
        (5 * 10**4, 1024, 1.2, 1.3),
    ]:
        for dtype, ahead in (("f32", ahead_f32), ("f64", ahead_f64)):
            yield covariance_task(full, d, dtype, ("numpy", "onedal", "jax", "mkl"), ahead)
