"""river: one observation at a time, as python objects."""

import importlib.metadata

import river.covariance
import river.preprocessing
import river.stats

from prepared import Prepared


def version():
    return importlib.metadata.version("river")


def online_variance(data):
    values = data.by_column()[0].tolist()

    def run():
        mean, variance = river.stats.Mean(), river.stats.Var(ddof=1)
        for value in values:
            mean.update(value)
            variance.update(value)
        return mean.get(), variance.get()

    return Prepared("python floats", run, lambda found: {"mean": [found[0]], "variance": [found[1]]})


def dictionaries(data):
    names = data.names()
    return [dict(zip(names, row)) for row in data.by_row().tolist()]


def online_moments(data):
    rows = dictionaries(data)
    names = data.names()

    def run():
        scaler = river.preprocessing.StandardScaler()
        for row in rows:
            scaler.learn_one(row)
        return scaler

    def answer(scaler):
        n = data.rows_count
        return {"mean": [scaler.means[k] for k in names], "variance": [scaler.vars[k] * n / (n - 1) for k in names]}

    return Prepared("python dictionaries", run, answer)


def online_covariance(data):
    rows = dictionaries(data)
    names = data.names()

    def run():
        matrix = river.covariance.EmpiricalCovariance()
        for row in rows:
            matrix.update(row)
        return matrix

    def entry(matrix, a, b):
        found = matrix[a, b]
        return getattr(found, "get", lambda: found)()

    return Prepared(
        "python dictionaries", run, lambda matrix: {"covariance": [[entry(matrix, a, b) for b in names] for a in names]}
    )
