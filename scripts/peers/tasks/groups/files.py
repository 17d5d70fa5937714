"""From files on disk (in the page cache for everyone) to means and variances."""

import data
import exact
from task import Task, rows, size

COLUMNS = 8
# (mean, sd, decimals): numbers of 7 to 9 significant digits.
LAWS = [(50, 10, 6), (1000, 1, 5), (0, 1, 7), (20, 8, 6), (400, 60, 5), (0.5, 0.1, 8), (-30, 5, 6), (9000, 800, 4)]


def table(n):
    """The columns of the files as raw numbers, which the reference is made of."""
    name = f"table-{n}x{COLUMNS}"

    def columns():
        random = data.generator(name)
        for mean, sd, decimals in LAWS:
            yield random.normal(mean, sd, n).round(decimals)

    return data.columns_file(name, "f64", columns)


def written(n, form, codec):
    """The same columns as a csv or parquet file."""
    raw = table(n)
    path = data.FOLDER / (f"table-{n}x{COLUMNS}" + (f"-{codec}.parquet" if form == "parquet" else ".csv"))

    def write(part):
        import polars

        values = data.read(raw, "f64", n, COLUMNS)
        frame = polars.DataFrame({f"c{j}": values[j] for j in range(COLUMNS)})
        if form == "csv":
            frame.write_csv(part)
        else:
            frame.write_parquet(part, compression=codec, row_group_size=2**18)

    return raw, data.made(path, write)


def task(full, form, codec, group, peers, ahead):
    """A query within a process; tools of the command line are whole processes, and so is Millstream's command."""
    n = rows(full)

    def prepare():
        raw, path = written(n, form, codec)
        return {"file": path}, exact.moments(raw, "f64", n, COLUMNS)

    title = f"{form}{f' ({codec})' if codec else ''} to moments, {size(full)} × {COLUMNS}"
    if group == "command":
        title = f"command line, {title}"
    return Task(
        name="-".join(filter(None, (group if group == "command" else None, form, codec))),
        group=group,
        title=title,
        kind=form,
        peers=peers,
        ours=("command",) if group == "command" else ("millstream", "command"),
        ahead=ahead,
        prepare=prepare,
        digits=exact.moments_digits,
        rows=n,
        columns=COLUMNS,
        remark="Mean and variance of every column. Millstream's command, datamash and miller: the whole process; the others: the query alone",
    )


def tasks():
    """In the order of the table."""
    yield task(5 * 10**6, "csv", None, "csv", ("polars", "duckdb", "pandas", "datafusion", "pyarrow"), 1.3)
    for codec in ("snappy", "uncompressed"):
        peers = ("polars", "duckdb", "pandas", "datafusion", "pyarrow")
        yield task(5 * 10**6, "parquet", codec, "parquet", peers, 1.1)
    yield task(5 * 10**5, "csv", None, "command", ("polars", "datamash", "miller"), 2)
