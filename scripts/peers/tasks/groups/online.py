"""One row at a time, as a program that gets single rows would call it."""

import data
import exact
from task import Task, rows, size


def task(d, statistic, kind, title, reference, digits):
    """Rows are made objects of the engine's own kind before the clock runs."""
    full = 10**5
    n = rows(full)

    def prepare():
        path = data.matrix(n, d, "f64")
        return {"columns": path}, reference(path, "f64", n, d)

    return Task(
        name=f"online-{statistic}",
        group="online",
        title=f"row at a time, {title}",
        kind=kind,
        peers=("river",),
        ours=("millstream",),
        ahead=20,
        prepare=prepare,
        digits=digits,
        rows=n,
        columns=d,
        threads=1,
    )


def tasks():
    """In the order of the table."""
    yield task(1, "variance", "online_variance", "mean and variance of 1 value", exact.moments, exact.moments_digits)
    yield task(8, "moments", "online_moments", "mean and variance of 8 values", exact.moments, exact.moments_digits)
    yield task(
        2, "covariance", "online_covariance", "covariance of 2 values", exact.covariance, exact.covariance_digits
    )
