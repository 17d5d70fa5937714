"""pyarrow: compute functions over its arrays."""

import numpy
import pyarrow
import pyarrow.compute as compute

from prepared import Prepared, pair


def version():
    return pyarrow.__version__


def moments(columns):
    """One pass a statistic and column."""
    options = compute.VarianceOptions(ddof=1)
    return [compute.mean(c).as_py() for c in columns], [compute.variance(c, options=options).as_py() for c in columns]


def moments_columns(data):
    pyarrow.set_cpu_count(data.threads)
    columns = [pyarrow.array(c) for c in data.named().values()]
    return Prepared("columns (Array)", lambda: moments(columns), pair)


def csv(data):
    import pyarrow.csv

    pyarrow.set_cpu_count(data.threads)
    path = data.files["file"]
    return Prepared("csv", lambda: moments(pyarrow.csv.read_csv(path).columns), pair)


def parquet(data):
    import pyarrow.parquet

    pyarrow.set_cpu_count(data.threads)
    path = data.files["file"]
    return Prepared("parquet", lambda: moments(pyarrow.parquet.read_table(path).columns), pair)


def group(data):
    pyarrow.set_cpu_count(data.threads)
    table = pyarrow.table({"key": data.array("key", numpy.int64), "value": data.array("value", numpy.float64)})
    options = compute.VarianceOptions(ddof=1)
    aggregates = [("value", "count"), ("value", "mean"), ("value", "variance", options)]

    def answer(found):
        names = {"key": "key", "count": "value_count", "mean": "value_mean", "variance": "value_variance"}
        filled = lambda column: compute.fill_null(column.cast("float64"), float("nan")).to_numpy()
        return {name: filled(found[column]) for name, column in names.items()}

    return Prepared("columns (Table)", lambda: table.group_by("key").aggregate(aggregates), answer)
