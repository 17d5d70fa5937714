"""Least squares, whole and in batches, and the gradient of a loss."""

import data
import exact
from task import THREADS, Task, right, rows, size


def least_squares(d, dtype, batches):
    """Coefficients of a linear model with an intercept; judged in `fast`, and `exact` stands beside it."""
    full = 10**6
    n = rows(full)

    def prepare():
        path = data.model(n, d, dtype)
        return {"columns": path}, exact.coefficients(path, dtype, n, d)

    whole = batches == 1
    return Task(
        name=f"least-squares-{dtype}{'' if whole else '-batches'}",
        group="models",
        title=f"least squares {size(full)} × {d} {dtype}{'' if whole else f' in {batches} batches'}",
        kind="least_squares" if whole else "least_squares_batches",
        peers=("onedal", "numpy", "sklearn", "jax") if whole else ("onedal", "numpy", "jax"),
        ours=("millstream/fast", "millstream"),
        ahead=2.5 if whole else 5,
        prepare=prepare,
        digits=exact.coefficients_digits,
        rows=n,
        # The target is the last.
        columns=d + 1,
        dtype=dtype,
        right=right(dtype),
        threads=THREADS if whole else 1,
        parameters={"batches": batches},
    )


def loss_gradient(d, dtype, ahead):
    """Σ (w·x − y) x for given weights."""
    full = 10**6
    n = rows(full)

    def prepare():
        path = data.model(n, d, dtype)
        return {"columns": path}, exact.gradient(path, dtype, n, d)

    return Task(
        name=f"loss-gradient-{dtype}",
        group="models",
        title=f"gradient of the squared loss {size(full)} × {d} {dtype}",
        kind="loss_gradient",
        peers=("numpy", "jax"),
        ours=("millstream",),
        ahead=ahead,
        prepare=prepare,
        digits=exact.gradient_digits,
        rows=n,
        columns=d + 1,
        dtype=dtype,
        right=right(dtype),
        parameters={"weights": exact.weights(d)},
    )


def tasks():
    """In the order of the table."""
    for batches in (1, 100):
        for dtype in ("f32", "f64"):
            yield least_squares(16, dtype, batches)
    yield loss_gradient(64, "f32", 2)
    yield loss_gradient(64, "f64", 1.25)
