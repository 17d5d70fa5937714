"""What each engine makes of the feed: `engines.py ENGINE INPUT FORM ANSWER` writes seconds and reports as JSON.

The input is a csv, an Arrow stream, or the port on which binary rows come; the question is count, mean and variance of
every column by key and tumbling window of event time of one second. Times are of the query alone, without the start of
the interpreter and of the imports (for Java engines: without the start of the JVM and of the session).
"""

import datetime
import json
import pathlib
import socket
import sys
import time

COLUMNS = [f"c{i}" for i in range(8)]
WINDOW_MS = 1000


def reports(rows):
    """Rows of (window start in ms, key, count, means…, variances…) as what is compared."""
    n = len(COLUMNS)
    return [
        {"window": int(r[0]), "key": int(r[1]), "count": int(r[2]), "mean": list(r[3 : 3 + n]), "variance": list(r[3 + n :])}
        for r in rows
    ]


def polars(path, form):
    import polars

    start = time.perf_counter()
    frame = polars.scan_csv(path) if form == "csv" else polars.read_ipc_stream(path).lazy()
    if form != "csv":
        # In memory: reading the stream is not what is asked.
        frame = frame.collect().lazy()
        start = time.perf_counter()
    # group_by_dynamic with keys takes 36 times as long as truncating the time.
    frame = frame.group_by((polars.col("ts") // WINDOW_MS * WINDOW_MS).alias("w"), "key").agg(
        [polars.len()]
        + [polars.col(c).mean().alias(c + "m") for c in COLUMNS]
        + [polars.col(c).var().alias(c + "v") for c in COLUMNS]
    )
    rows = frame.collect(engine="streaming")
    return time.perf_counter() - start, rows.rows()


def duckdb(path, form):
    import duckdb

    connection = duckdb.connect()
    terms = ", ".join([f"avg({c})" for c in COLUMNS] + [f"var_samp({c})" for c in COLUMNS])
    if form == "csv":
        source = f"read_csv('{path}')"
    else:
        import pyarrow

        table = pyarrow.ipc.open_stream(path).read_all()
        connection.register("feed", table)
        source = "feed"
    start = time.perf_counter()
    query = f"SELECT ts // {WINDOW_MS} * {WINDOW_MS} AS w, key, count(*), {terms} FROM {source} GROUP BY ALL"
    rows = connection.execute(query).fetchall()
    return time.perf_counter() - start, rows


def numpy(port, form):
    """A loop over micro-batches of binary rows, sums shifted by the first value of each window and key."""
    import numpy

    assert form == "binary"
    width = 2 + len(COLUMNS)
    keys = 1 << 10
    rows, state = [], {}
    listener = socket.create_server(("127.0.0.1", int(port)))
    stream = listener.accept()[0].makefile("rb", buffering=1 << 20)
    start = None

    def fold(window, batch):
        if window not in state:
            state[window] = [numpy.zeros(keys), numpy.full((keys, len(COLUMNS)), numpy.nan)]
            state[window] += [numpy.zeros((keys, len(COLUMNS))), numpy.zeros((keys, len(COLUMNS)))]
        count, pivot, first, second = state[window]
        key = batch[:, 1].astype(numpy.int64)
        new, at = numpy.unique(key, return_index=True)
        unknown = count[new] == 0
        pivot[new[unknown]] = batch[at[unknown], 2:]
        deviation = batch[:, 2:] - pivot[key]
        count += numpy.bincount(key, minlength=keys)
        for c in range(len(COLUMNS)):
            first[:, c] += numpy.bincount(key, deviation[:, c], keys)
            second[:, c] += numpy.bincount(key, deviation[:, c] ** 2, keys)

    def close(window):
        count, pivot, first, second = state.pop(window)
        for key in numpy.flatnonzero(count):
            n = count[key]
            means = pivot[key] + first[key] / n
            with numpy.errstate(invalid="ignore", divide="ignore"):
                variances = (second[key] - first[key] ** 2 / n) / (n - 1)
            rows.append((window, key, n, *means.tolist(), *[None if n < 2 else v for v in variances.tolist()]))

    while True:
        # Several frames are one micro-batch.
        pieces, size = [], 0
        while size < 1 << 20:
            head = stream.read(4)
            if len(head) < 4:
                break
            start = start or time.perf_counter()
            pieces.append(stream.read(int.from_bytes(head, "little")))
            size += len(pieces[-1])
        if not pieces:
            break
        batch = numpy.frombuffer(b"".join(pieces)).reshape(-1, width)
        windows = (batch[:, 0] // WINDOW_MS).astype(numpy.int64) * WINDOW_MS
        for window in numpy.unique(windows):
            fold(int(window), batch[windows == window])
        for window in [w for w in state if w + WINDOW_MS <= batch[:, 0].max()]:
            close(window)
    for window in sorted(state):
        close(window)
    return time.perf_counter() - start, rows


def river(path, form):
    import csv

    from river import stats

    assert form == "csv"
    start = time.perf_counter()
    cells, rows = {}, []

    def close(window):
        for (w, key), (mean, variance) in [c for c in cells.items() if c[0][0] == window]:
            means = [m.get() for m in mean]
            n = mean[0].n
            rows.append((w, key, n, *means, *[v.get() if n > 1 else None for v in variance]))
            del cells[w, key]

    last = None
    with open(path, newline="") as file:
        lines = csv.reader(file)
        next(lines)
        for line in lines:
            window = int(line[0]) // WINDOW_MS * WINDOW_MS
            if last is not None and window > last:
                close(last)
            last = window
            cell = cells.get((window, int(line[1])))
            if cell is None:
                cell = cells[window, int(line[1])] = ([stats.Mean() for _ in COLUMNS], [stats.Var() for _ in COLUMNS])
            for mean, variance, value in zip(*cell, line[2:]):
                value = float(value)
                mean.update(value)
                variance.update(value)
    close(last)
    return time.perf_counter() - start, rows


def spark(path, form):
    """Structured streaming over a folder of one csv, all that is there in as few batches as it likes."""
    import tempfile

    from pyspark.sql import SparkSession, functions as f

    assert form == "csv"
    folder = pathlib.Path(tempfile.mkdtemp())
    (folder / "in").mkdir()
    (folder / "in" / "feed.csv").symlink_to(pathlib.Path(path).resolve())
    session = (
        SparkSession.builder.master("local[*]")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.shuffle.partitions", "2")
        .config("spark.driver.memory", "4g")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("ERROR")
    schema = "ts LONG, key INT, " + ", ".join(f"{c} DOUBLE" for c in COLUMNS)
    feed = session.readStream.schema(schema).option("header", "true").csv(str(folder / "in"))
    feed = feed.withColumn("time", f.timestamp_millis("ts")).withWatermark("time", "500 milliseconds")
    terms = [f.count("*")] + [f.avg(c) for c in COLUMNS] + [f.var_samp(c) for c in COLUMNS]
    groups = feed.groupBy(f.window("time", "1 second"), "key").agg(*terms)
    start = time.perf_counter()
    query = (
        groups.writeStream.format("memory")
        .queryName("reports")
        .outputMode("append")
        .option("checkpointLocation", str(folder / "checkpoint"))
        .trigger(availableNow=True)
        .start()
    )
    query.awaitTermination()
    seconds = time.perf_counter() - start
    rows = []
    for row in session.sql("SELECT unix_millis(window.start), * FROM reports").collect():
        rows.append((row[0], *row[2:]))
    session.stop()
    return seconds, rows


def flink(path, form):
    from pyflink.table import EnvironmentSettings, TableEnvironment

    assert form == "csv"
    table = TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
    table.get_config().set("parallelism.default", "2")
    table.get_config().set("table.local-time-zone", "UTC")
    fields = ", ".join(f"{c} DOUBLE" for c in COLUMNS)
    # The file has no line of names: Flink's reader of csv does not know them.
    table.execute_sql(
        f"""CREATE TABLE feed (ts BIGINT, `key` INT, {fields}, t AS TO_TIMESTAMP_LTZ(ts, 3),
            WATERMARK FOR t AS t - INTERVAL '0.5' SECOND)
            WITH ('connector' = 'filesystem', 'path' = 'file://{pathlib.Path(path).resolve()}', 'format' = 'csv')"""
    )
    terms = ", ".join([f"AVG({c})" for c in COLUMNS] + [f"VAR_SAMP({c})" for c in COLUMNS])
    start = time.perf_counter()
    result = table.execute_sql(
        f"""SELECT window_start, `key`, COUNT(*), {terms}
            FROM TABLE(TUMBLE(TABLE feed, DESCRIPTOR(t), INTERVAL '1' SECOND))
            GROUP BY window_start, window_end, `key`"""
    )
    with result.collect() as collected:
        rows = [tuple(row) for row in collected]
    seconds = time.perf_counter() - start
    utc = datetime.timezone.utc
    return seconds, [(round(row[0].replace(tzinfo=utc).timestamp() * 1000), *row[1:]) for row in rows]


if __name__ == "__main__":
    engine, where, form = sys.argv[1:4]
    # An engine's own name is that of its package: the functions are looked up before any import.
    seconds, rows = globals()[engine](where, form)
    # To a file: Java engines write what they like to standard output.
    with open(sys.argv[4], "w") as file:
        json.dump({"seconds": seconds, "reports": reports(rows)}, file)
