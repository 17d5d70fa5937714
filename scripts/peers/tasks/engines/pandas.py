"""pandas, with bottleneck and numba left to speak for themselves."""

import numpy
import pandas

from prepared import Prepared, pair

pandas.set_option("compute.use_bottleneck", False)
pandas.set_option("compute.use_numba", False)
FRAME = "columns (DataFrame)"


def version():
    return pandas.__version__


def moments(frame):
    return frame.mean(), frame.var()


def moments_columns(data):
    frame = pandas.DataFrame(data.named())
    return Prepared(FRAME, lambda: moments(frame), pair)


def csv(data):
    path = data.files["file"]
    return Prepared("csv", lambda: moments(pandas.read_csv(path, engine="pyarrow")), pair)


def parquet(data):
    path = data.files["file"]
    return Prepared("parquet", lambda: moments(pandas.read_parquet(path, engine="pyarrow")), pair)


def rolling(data, function):
    frame = pandas.DataFrame(data.named())
    w = data.parameters["window"]
    return Prepared("Series", lambda: function(frame["c0"].rolling(w), frame["c1"]), lambda found: {"values": found})


def rolling_mean(data):
    return rolling(data, lambda a, b: a.mean())


def rolling_variance(data):
    return rolling(data, lambda a, b: a.var())


def rolling_covariance(data):
    return rolling(data, lambda a, b: a.cov(b))


def difference(data):
    x = pandas.Series(data.by_column()[0])
    return Prepared("Series", lambda: x.diff(), lambda found: {"values": found})


def arrays(data):
    return {"key": data.array("key", numpy.int64), "value": data.array("value", numpy.float64)}


def aggregated(grouped):
    return grouped["value"].agg(["count", "mean", "var"])


def group(data):
    frame = pandas.DataFrame(arrays(data))

    def answer(found):
        return {"key": found.index, "count": found["count"], "mean": found["mean"], "variance": found["var"]}

    return Prepared(FRAME, lambda: aggregated(frame.groupby("key", sort=False)), answer)


def windows(data):
    frame = pandas.DataFrame({"time": data.array("time", numpy.int64).view("datetime64[ns]"), **arrays(data)})

    def answer(found):
        seconds = found.index.get_level_values(0).to_numpy().astype("datetime64[s]").astype(numpy.int64)
        key = seconds * data.parameters["keys"] + found.index.get_level_values(1)
        return {"key": key, "count": found["count"], "mean": found["mean"], "variance": found["var"]}

    run = lambda: aggregated(frame.groupby([frame["time"].dt.floor("s"), "key"], sort=False))
    return Prepared(FRAME, run, answer)
