"""numpy, as its users write it; running results are sums around the first row, which do not cancel."""

import numpy

from prepared import Prepared, Stream, pair

ROWS = "rows (C order)"


def version():
    return numpy.__version__


def moments_rows(data):
    x = data.by_row()
    return Prepared(ROWS, lambda: (x.mean(axis=0), x.var(axis=0, ddof=1)), pair)


def moments_columns(data):
    columns = list(data.named().values())
    return Prepared(
        "columns (1-D arrays)", lambda: ([c.mean() for c in columns], [c.var(ddof=1) for c in columns]), pair
    )


def covariance(data):
    x = data.by_column()
    return Prepared(
        "columns (C order, rowvar)", lambda: numpy.cov(x, dtype=x.dtype), lambda found: {"covariance": found}
    )


def shifted(batch, state):
    """The batch without its pivot, which is the first row of all."""
    if "pivot" not in state:
        state["pivot"] = batch[0].copy()
        state["ones"] = numpy.ones(len(batch), dtype=batch.dtype)
    return batch - state["pivot"]


def micro_moments(data):
    def step(state, batch):
        delta = shifted(batch, state)
        state["n"] += len(batch)
        state["sum"] += state["ones"] @ delta
        state["squares"] += numpy.einsum("ij,ij->j", delta, delta)

    def finish(state):
        n, total = state["n"], state["sum"]
        return state["pivot"] + total / n, (state["squares"] - total * total / n) / (n - 1)

    begin = lambda: {"n": 0, "sum": numpy.zeros(data.d), "squares": numpy.zeros(data.d)}
    return Stream(ROWS, data.batches_by_row(), begin, step, finish, pair)


def micro_covariance(data):
    def step(state, batch):
        delta = shifted(batch, state)
        state["n"] += len(batch)
        state["sum"] += state["ones"] @ delta
        state["products"] += delta.T @ delta

    def finish(state):
        n, total = state["n"], state["sum"]
        return (state["products"] - numpy.outer(total, total) / n) / (n - 1)

    begin = lambda: {"n": 0, "sum": numpy.zeros(data.d), "products": numpy.zeros((data.d, data.d))}
    return Stream(ROWS, data.batches_by_row(), begin, step, finish, lambda found: {"covariance": found})


def difference(data):
    x = data.by_column()[0]
    # A result as long as the input: the first has no neighbour before it.
    return Prepared("one array", lambda: numpy.diff(x, prepend=x[:1]), lambda found: {"values": found})


def gradient(data):
    x = data.by_column()[0]
    return Prepared("one array", lambda: numpy.gradient(x), lambda found: {"values": found})


def normal_equations(n, means, products, d):
    """Intercept and slopes from means and sums of products of centred columns, the target last."""
    slopes = numpy.linalg.solve(products[:d, :d], products[:d, d])
    return numpy.concatenate([[means[d] - slopes @ means[:d]], slopes])


def least_squares(data):
    x = data.by_row()
    d = data.d - 1

    def run():
        means = x.mean(axis=0, dtype=numpy.float64)
        centred = x - means.astype(x.dtype)
        return normal_equations(len(x), means, (centred.T @ centred).astype(numpy.float64), d)

    return Prepared(ROWS, run, lambda found: {"coefficients": found})


def least_squares_batches(data):
    d = data.d - 1

    def step(state, batch):
        delta = shifted(batch, state)
        state["n"] += len(batch)
        state["sum"] += state["ones"] @ delta
        state["products"] += delta.T @ delta

    def finish(state):
        n, total = state["n"], state["sum"]
        products = state["products"] - numpy.outer(total, total) / n
        return normal_equations(n, state["pivot"] + total / n, products, d)

    begin = lambda: {"n": 0, "sum": numpy.zeros(data.d), "products": numpy.zeros((data.d, data.d))}
    return Stream(ROWS, data.batches_by_row(), begin, step, finish, lambda found: {"coefficients": found})


def loss_gradient(data):
    x = data.by_row()
    y = x[:, -1].copy()
    x = numpy.ascontiguousarray(x[:, :-1])
    w = numpy.array(data.parameters["weights"], dtype=x.dtype)

    def run():
        residual = x @ w[1:]
        residual += w[0]
        residual -= y
        return numpy.concatenate([[residual.sum()], residual @ x])

    return Prepared(ROWS, run, lambda found: {"gradient": found})
