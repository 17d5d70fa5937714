"""DataFusion: SQL over Arrow batches in memory, or over files."""

import datafusion
import numpy
import pyarrow

from prepared import Prepared, pair

# The batches that its readers make.
BATCH_ROWS = 8192
MEMORY = "columns (Arrow batches)"


def version():
    return datafusion.__version__


def context(data):
    return datafusion.SessionContext(datafusion.SessionConfig().with_target_partitions(data.threads))


def in_memory(data, columns):
    """A context with the table `t`, one partition a thread."""
    found = context(data)
    batches = pyarrow.table(columns).to_batches(max_chunksize=BATCH_ROWS)
    share = -(-len(batches) // data.threads)
    found.register_record_batches("t", [batches[k : k + share] for k in range(0, len(batches), share)])
    return found


def moments_query(data, found, layout):
    terms = [f"avg({n})" for n in data.names()] + [f"var_samp({n})" for n in data.names()]
    query = f"SELECT {', '.join(terms)} FROM t"

    def answer(batches):
        row = [column[0].as_py() for column in batches[0].columns]
        return pair((row[: data.d], row[data.d :]))

    return Prepared(layout, lambda: found.sql(query).collect(), answer)


def moments_columns(data):
    return moments_query(data, in_memory(data, data.named()), MEMORY)


def csv(data):
    found = context(data)
    found.register_csv("t", data.files["file"])
    return moments_query(data, found, "csv")


def parquet(data):
    found = context(data)
    found.register_parquet("t", data.files["file"])
    return moments_query(data, found, "parquet")


def group(data):
    arrays = {"key": data.array("key", numpy.int64), "value": data.array("value", numpy.float64)}
    found = in_memory(data, arrays)
    query = "SELECT key, count(value) AS count, avg(value) AS mean, var_samp(value) AS variance FROM t GROUP BY key"

    def answer(batches):
        table = pyarrow.Table.from_batches(batches)
        return {name: table[name].cast("float64").to_numpy() for name in ("key", "count", "mean", "variance")}

    return Prepared(MEMORY, lambda: found.sql(query).collect(), answer)
