"""duckdb: SQL over tables that it holds in memory in its own format, or over files."""

import duckdb
import numpy

from prepared import Prepared, pair

TABLE = "table in memory"


def version():
    return duckdb.__version__


def connected(data, **columns):
    """A connection with the table `t` of these arrays."""
    connection = duckdb.connect(config={"threads": data.threads})
    if columns:
        import pyarrow

        arrays = pyarrow.table(columns)
        connection.register("arrays", arrays)
        connection.execute("CREATE TABLE t AS SELECT * FROM arrays")
        connection.unregister("arrays")
    return connection


def moments_query(data, connection, source, layout):
    terms = [f"avg({n})" for n in data.names()] + [f"var_samp({n})" for n in data.names()]
    query = f"SELECT {', '.join(terms)} FROM {source}"

    def answer(row):
        return pair((row[: data.d], row[data.d :]))

    return Prepared(layout, lambda: connection.execute(query).fetchone(), answer)


def moments_columns(data):
    return moments_query(data, connected(data, **data.named()), "t", TABLE)


def csv(data):
    return moments_query(data, connected(data), f"read_csv('{data.files['file']}')", "csv")


def parquet(data):
    return moments_query(data, connected(data), f"read_parquet('{data.files['file']}')", "parquet")


def arrays(data):
    return {"key": data.array("key", numpy.int64), "value": data.array("value", numpy.float64)}


AGGREGATES = "count(value) AS count, avg(value) AS mean, var_samp(value) AS variance"


def group(data):
    connection = connected(data, **arrays(data))
    query = f"SELECT key, {AGGREGATES} FROM t GROUP BY key"

    def answer(found):
        return {name: numpy.ma.filled(values.astype(float), numpy.nan) for name, values in found.items()}

    return Prepared(TABLE, lambda: connection.execute(query).fetchnumpy(), answer)


def windows(data):
    time = data.array("time", numpy.int64).view("datetime64[ns]")
    connection = connected(data, time=time, **arrays(data))
    query = f"SELECT date_trunc('second', time) AS w, key, {AGGREGATES} FROM t GROUP BY w, key"

    def answer(found):
        seconds = found.pop("w").astype("datetime64[s]").astype(numpy.int64)
        return found | {"key": seconds * data.parameters["keys"] + found["key"]}

    return Prepared(TABLE, lambda: connection.execute(query).fetchnumpy(), answer)
