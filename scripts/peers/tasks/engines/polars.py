"""polars: lazy queries on its streaming engine, rolling functions on its series."""

import numpy
import polars

from prepared import Prepared, pair

FRAME = "columns (DataFrame)"


def version():
    return polars.__version__


def moments_query(frame, names):
    means = [polars.col(n).mean().alias(f"{n}_mean") for n in names]
    variances = [polars.col(n).var().alias(f"{n}_variance") for n in names]
    return lambda: frame().select(means + variances).collect(engine="streaming").row(0)


def halves(row):
    return pair((row[: len(row) // 2], row[len(row) // 2 :]))


def moments_columns(data):
    frame = polars.DataFrame(data.named())
    return Prepared(FRAME, moments_query(frame.lazy, data.names()), halves)


def csv(data):
    path = data.files["file"]
    return Prepared("csv", moments_query(lambda: polars.scan_csv(path), data.names()), halves)


def parquet(data):
    path = data.files["file"]
    return Prepared("parquet", moments_query(lambda: polars.scan_parquet(path), data.names()), halves)


def rolling(data, function):
    a, b = (polars.Series(values) for values in data.named().values())
    w = data.parameters["window"]
    return Prepared("Series", lambda: function(a, b, w), lambda found: {"values": found.to_numpy()})


def rolling_mean(data):
    return rolling(data, lambda a, b, w: a.rolling_mean(w))


def rolling_variance(data):
    return rolling(data, lambda a, b, w: a.rolling_var(w))


def rolling_covariance(data):
    def function(a, b, w):
        frame = polars.DataFrame({"a": a, "b": b})
        return frame.select(polars.rolling_cov("a", "b", window_size=w, ddof=1)).to_series()

    return rolling(data, function)


def difference(data):
    x = polars.Series(data.by_column()[0])
    return Prepared("Series", lambda: x.diff(), lambda found: {"values": found.to_numpy()})


def aggregates():
    value = polars.col("value")
    return [polars.len().alias("count"), value.mean().alias("mean"), value.var().alias("variance")]


def group(data):
    key, value = data.array("key", numpy.int64), data.array("value", numpy.float64)
    query = polars.DataFrame({"key": key, "value": value}).lazy().group_by("key").agg(aggregates())

    def answer(frame):
        return {name: frame[name].fill_null(float("nan")).to_numpy() for name in ("key", "count", "mean", "variance")}

    return Prepared(FRAME, lambda: query.collect(engine="streaming"), answer)


def windows(data):
    time = data.array("time", numpy.int64).view("datetime64[ns]")
    frame = polars.DataFrame(
        {"time": time, "key": data.array("key", numpy.int64), "value": data.array("value", numpy.float64)}
    )
    # Truncating and grouping is many times as fast as group_by_dynamic with keys.
    window = polars.col("time").dt.truncate("1s").alias("window")
    query = frame.lazy().group_by(window, "key").agg(aggregates())

    def answer(found):
        seconds = found["window"].to_numpy().astype("datetime64[s]").astype(numpy.int64)
        key = seconds * data.parameters["keys"] + found["key"].to_numpy()
        return {"key": key} | {name: found[name].to_numpy() for name in ("count", "mean", "variance")}

    return Prepared(FRAME, lambda: query.collect(engine="streaming"), answer)
