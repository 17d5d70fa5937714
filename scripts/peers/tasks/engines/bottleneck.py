"""bottleneck: C loops over arrays, one thread; its rolling statistics subtract what leaves the window."""

import bottleneck

from prepared import Prepared, pair


def version():
    return bottleneck.__version__


def moments_columns(data):
    columns = list(data.named().values())
    run = lambda: ([bottleneck.nanmean(c) for c in columns], [bottleneck.nanvar(c, ddof=1) for c in columns])
    return Prepared("columns (1-D arrays)", run, pair)


def rolling(data, function):
    x = data.named()["c0"]
    w = data.parameters["window"]
    return Prepared("one array", lambda: function(x, w), lambda found: {"values": found})


def rolling_mean(data):
    return rolling(data, bottleneck.move_mean)


def rolling_variance(data):
    return rolling(data, lambda x, w: bottleneck.move_var(x, w, ddof=1))
