"""scikit-learn without its oneDAL patches."""

import importlib.metadata

import numpy
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import StandardScaler

from prepared import Prepared, Stream

ROWS = "rows (C order)"


def version():
    return importlib.metadata.version("scikit-learn")


def micro_moments(data):
    def answer(scaler):
        n = data.rows_count
        return {"mean": scaler.mean_, "variance": scaler.var_ * n / (n - 1)}

    step = lambda scaler, batch: scaler.partial_fit(batch)
    return Stream(ROWS, data.batches_by_row(), StandardScaler, step, lambda scaler: scaler, answer)


def least_squares(data):
    x = data.by_row()
    y = x[:, -1].copy()
    x = numpy.ascontiguousarray(x[:, :-1])
    answer = lambda fit: {"coefficients": numpy.concatenate([[fit.intercept_], fit.coef_])}
    return Prepared(ROWS, lambda: LinearRegression().fit(x, y), answer)
