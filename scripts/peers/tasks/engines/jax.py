"""jax on the CPU: compiled functions over arrays that it holds already."""

import os

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_ENABLE_X64"] = "1"
if os.environ.get("OMP_NUM_THREADS") == "1":
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

import jax
import jax.numpy as jnp
import numpy

from prepared import Prepared, Stream, pair

ROWS = "rows (jax array)"


def version():
    return jax.__version__


def compiled(layout, function, arguments, answer):
    """A jitted call that waits for its answer."""
    call = jax.jit(function)
    arguments = [jax.device_put(a) for a in arguments]
    run = lambda: jax.block_until_ready(call(*arguments))
    run()
    return Prepared(layout, run, answer)


def moments_rows(data):
    return compiled(ROWS, lambda x: (x.mean(axis=0), x.var(axis=0, ddof=1)), [data.by_row()], pair)


def covariance(data):
    def function(x):
        centred = x - x.mean(axis=0)
        return centred.T @ centred / (x.shape[0] - 1)

    return compiled(ROWS, function, [data.by_row()], lambda found: {"covariance": found})


def running(data, products, answer):
    """Sums around the first row in f64, in a step that is compiled."""

    @jax.jit
    def step(state, batch):
        n, total, squares, pivot = state
        delta = batch - pivot
        # Of 10,000 rows in their own format, of all in f64.
        more = delta.T @ delta if products else (delta * delta).sum(axis=0)
        return n + batch.shape[0], total + delta.sum(axis=0), squares + more, pivot

    @jax.jit
    def finish(state):
        n, total, squares, pivot = state
        mean = pivot + total / n
        if products:
            return mean, (squares - jnp.outer(total, total) / n) / (n - 1)
        return mean, (squares - total * total / n) / (n - 1)

    batches = [jax.device_put(numpy.ascontiguousarray(b)) for b in data.batches_by_row()]
    shape = (data.d, data.d) if products else (data.d,)

    def begin():
        return 0.0, jnp.zeros(data.d, dtype=jnp.float64), jnp.zeros(shape, dtype=jnp.float64), batches[0][0]

    waiting = lambda state, batch: jax.block_until_ready(step(state, batch))
    last = lambda state: jax.block_until_ready(finish(state))
    last(waiting(begin(), batches[0]))
    return Stream(ROWS, batches, begin, waiting, last, answer)


def micro_moments(data):
    return running(data, False, pair)


def micro_covariance(data):
    return running(data, True, lambda found: {"covariance": found[1]})


def coefficients_of(mean, products):
    """Intercept and slopes; the target is the last column."""
    slopes = jnp.linalg.solve(products[:-1, :-1], products[:-1, -1])
    return jnp.concatenate([jnp.array([mean[-1] - slopes @ mean[:-1]]), slopes])


def least_squares(data):
    def function(x):
        mean = x.mean(axis=0)
        centred = x - mean
        return coefficients_of(mean, centred.T @ centred)

    return compiled(ROWS, function, [data.by_row()], lambda found: {"coefficients": found})


def least_squares_batches(data):
    stream = running(data, True, lambda found: {"coefficients": found})
    covariance_of, solved = stream.finish, jax.jit(coefficients_of)
    stream.finish = lambda state: jax.block_until_ready(solved(*covariance_of(state)))
    stream.finish(stream.begin()[:3] + (stream.batches[0][0],))
    return stream


def difference(data):
    function = lambda x: jnp.diff(x, prepend=x[:1])
    return compiled("one array", function, [data.by_column()[0]], lambda found: {"values": found})


def gradient(data):
    return compiled("one array", jnp.gradient, [data.by_column()[0]], lambda found: {"values": found})


def loss_gradient(data):
    x = data.by_row()
    y = x[:, -1].copy()
    x = numpy.ascontiguousarray(x[:, :-1])
    w = numpy.array(data.parameters["weights"], dtype=x.dtype)

    def function(x, y, w):
        residual = x @ w[1:] + w[0] - y
        return jnp.concatenate([residual.sum()[None], residual @ x])

    return compiled(ROWS, function, [x, y, w], lambda found: {"gradient": found})
