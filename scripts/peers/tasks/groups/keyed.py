"""Groups: by key, and by key and window of event time."""

import numpy

import data
import exact
from task import Task, rows, size

WINDOW_KEYS = 100
WINDOWS = 100
REMARK = "Count, mean and variance of one value column"


def by_key(keys, peers, ahead):
    """Count, mean and variance of one value column by an integer key."""
    full = 10**7
    n = rows(full)

    def prepare():
        key, value = data.keyed(n, keys)
        return {"key": key, "value": value}, exact.grouped(key, value, keys)

    return Task(
        name=f"group-{size(keys)}",
        group="groups",
        title=f"groups by {size(keys)} keys, {size(full)} rows",
        kind="group",
        peers=peers,
        ours=("millstream",),
        ahead=ahead,
        prepare=prepare,
        digits=exact.grouped_digits,
        rows=n,
        columns=1,
        parameters={"keys": keys},
        remark=REMARK,
    )


def by_window():
    """The same by windows of 1 s and 100 keys; the answer's key is window · keys + key."""
    full = 10**7
    n = rows(full)

    def prepare():
        key, value = data.keyed(n, WINDOW_KEYS)
        step_ns = WINDOWS * 10**9 // n
        time_ns = numpy.arange(n, dtype=numpy.int64) * step_ns
        time = data.made(data.FOLDER / f"time-{n}.i64", lambda part: time_ns.tofile(part))
        cell = data.made(
            data.FOLDER / f"cell-{n}.i64",
            lambda part: (time_ns // 10**9 * WINDOW_KEYS + numpy.fromfile(key, dtype=numpy.int64)).tofile(part),
        )
        return {"key": key, "value": value, "time": time}, exact.grouped(cell, value, WINDOWS * WINDOW_KEYS)

    return Task(
        name="windows",
        group="groups",
        title=f"windows of 1 s by {WINDOW_KEYS} keys, {size(full)} rows",
        kind="windows",
        peers=("duckdb", "polars", "pandas"),
        ours=("millstream",),
        ahead=2.5,
        prepare=prepare,
        digits=exact.grouped_digits,
        rows=n,
        columns=1,
        parameters={"keys": WINDOW_KEYS},
        remark=REMARK,
    )


def tasks():
    """In the order of the table."""
    peers = ("duckdb", "polars", "pandas", "pyarrow", "datafusion")
    yield by_key(1000, peers, 2)
    yield by_key(10**6, peers, 1.5)
    yield by_window()
