"""What an engine gives for a task, and what a task gives to an engine."""

import dataclasses
from collections.abc import Callable

import numpy

from data import column, read


@dataclasses.dataclass
class Prepared:
    """Data in the engine's own layout, and what is timed."""

    layout: str
    # What is timed.
    run: Callable
    # What came of it as arrays by name; not timed.
    answer: Callable


@dataclasses.dataclass
class Stream:
    """Batches in the engine's own layout, taken in one after the other; each step is timed, and so is the whole."""

    layout: str
    batches: list
    begin: Callable
    # (state, batch) to the next state, or None where the state is changed in place.
    step: Callable
    finish: Callable
    answer: Callable


class Data:
    """The data of a task as an engine asks for it."""

    def __init__(self, document):
        self.kind = document["kind"]
        self.rows_count = document["rows"]
        self.d = document["columns"]
        self.dtype = document["dtype"]
        self.threads = document["threads"]
        self.parameters = document["parameters"]
        self.files = document["files"]

    @property
    def is_f32(self):
        return self.dtype == "f32"

    def by_column(self):
        """d × rows, contiguous by column of the data."""
        return read(self.files["columns"], self.dtype, self.rows_count, self.d)

    def by_row(self):
        """rows × d, contiguous by row."""
        return numpy.ascontiguousarray(self.by_column().T)

    def names(self):
        return [f"c{j}" for j in range(self.d)]

    def named(self):
        """Contiguous columns by name, each in memory of its own."""
        path = self.files["columns"]
        return {name: column(path, self.dtype, self.rows_count, j) for j, name in enumerate(self.names())}

    def batches_by_row(self):
        """Contiguous batches of rows."""
        x = self.by_row()
        return [x[start : start + self.batch_rows] for start in range(0, self.rows_count, self.batch_rows)]

    @property
    def batch_rows(self):
        return self.rows_count // self.parameters["batches"]

    def array(self, name, dtype):
        """A file of one column."""
        return numpy.fromfile(self.files[name], dtype=dtype)


def pair(found):
    """(means, variances) as arrays by name."""
    return {"mean": found[0], "variance": found[1]}
