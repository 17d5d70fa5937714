"""numbagg: rolling statistics compiled by numba; they subtract what leaves the window."""

import importlib.metadata

import numbagg

from prepared import Prepared


def version():
    return importlib.metadata.version("numbagg")


def rolling(data, function):
    a, b = data.named().values()
    w = data.parameters["window"]
    return Prepared("arrays", lambda: function(a, b, w), lambda found: {"values": found})


def rolling_mean(data):
    return rolling(data, lambda a, b, w: numbagg.move_mean(a, window=w))


def rolling_variance(data):
    return rolling(data, lambda a, b, w: numbagg.move_var(a, window=w))


def rolling_covariance(data):
    return rolling(data, lambda a, b, w: numbagg.move_cov(a, b, window=w))
