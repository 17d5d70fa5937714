"""The numbers of the tasks: raw little-endian columns, one behind the other, made once from fixed seeds."""

import pathlib
import zlib

import numpy

FOLDER = pathlib.Path("target/peers")
DTYPES = {"f32": numpy.float32, "f64": numpy.float64}

# (mean, sd) of the columns in turn; mean / sd goes up to 100.
LAWS = [(50, 10), (1000, 10), (0, 1), (20, 8), (400, 60), (0.5, 0.1), (-30, 5), (9000, 800)]
# Weight of what all columns of a row have in common: correlations are its square.
COMMON = 0.6


def generator(name):
    """The same numbers for the same name."""
    return numpy.random.Generator(numpy.random.PCG64([20260101, zlib.crc32(name.encode())]))


def made(path, write):
    """The file, written whole or not at all."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        write(part)
        part.rename(path)
    return path


def columns_file(name, dtype, columns):
    """A file of the columns that `columns()` yields."""

    def write(part):
        with part.open("wb") as file:
            for column in columns():
                numpy.ascontiguousarray(column, dtype=DTYPES[dtype]).tofile(file)

    return made(FOLDER / f"{name}.{dtype}", write)


def matrix(rows, d, dtype):
    """Correlated normal columns of the laws above."""
    name = f"matrix-{rows}x{d}"

    def columns():
        random = generator(name)
        common = random.standard_normal(rows)
        for j in range(d):
            mean, sd = LAWS[j % len(LAWS)]
            own = random.standard_normal(rows)
            yield mean + sd * (COMMON * common + (1 - COMMON**2) ** 0.5 * own)

    return columns_file(name, dtype, columns)


def hard(name, rows, d, mean, dtype):
    """Normal columns of sd 1 around a mean that one-pass formulas do not survive."""

    def columns():
        random = generator(name)
        for _ in range(d):
            yield mean + random.standard_normal(rows)

    return columns_file(f"hard-{name}-{rows}x{d}", dtype, columns)


def model(rows, d, dtype):
    """d terms and their target: a linear model with noise."""
    name = f"model-{rows}x{d}"

    def columns():
        random = generator(name)
        target = random.standard_normal(rows)
        for j in range(d):
            term = 3 * (j % 3) + random.standard_normal(rows)
            target += (0.1 + 0.05 * j) * term
            yield term
        yield target

    return columns_file(name, dtype, columns)


def walk(rows, burst):
    """Two correlated columns of N(0, 1); a burst of 1e8 in the first tenth leaves a state that subtracts in ruins."""
    name = f"walk-{rows}{'-burst' if burst else ''}"

    def columns():
        random = generator(name)
        common = random.standard_normal(rows)
        for _ in range(2):
            column = COMMON * common + (1 - COMMON**2) ** 0.5 * random.standard_normal(rows)
            if burst:
                column[rows // 20 : rows // 20 + 100] += 1e8
            yield column

    return columns_file(name, "f64", columns)


def curve(rows, dtype):
    """One smooth column with noise, to differentiate."""
    name = f"curve-{rows}"

    def columns():
        yield 10 * numpy.sin(numpy.arange(rows) / 1000) + 0.1 * generator(name).standard_normal(rows)

    return columns_file(name, dtype, columns)


def keyed(rows, keys):
    """A key below `keys` and a value a row, each in a file of its own."""
    random = generator(f"keyed-{rows}-{keys}")
    key_path, value_path = FOLDER / f"keyed-{rows}-{keys}.i64", FOLDER / f"keyed-{rows}-{keys}.f64"
    if not (key_path.exists() and value_path.exists()):
        key = random.integers(0, keys, rows)
        value = 50 + 10 * random.standard_normal(rows) + key % 7
        made(key_path, lambda part: key.astype(numpy.int64).tofile(part))
        made(value_path, lambda part: value.tofile(part))
    return key_path, value_path


def column(path, dtype, rows, j):
    """One column, in memory of its own."""
    dtype = numpy.dtype(DTYPES[dtype])
    return numpy.fromfile(path, dtype=dtype, count=rows, offset=j * rows * dtype.itemsize)


def read(path, dtype, rows, d):
    """d × rows: a row of the array is a column of the data."""
    return numpy.fromfile(path, dtype=DTYPES[dtype]).reshape(d, rows)
