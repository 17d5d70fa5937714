"""What one task is: its data, its engines, what a right answer is, and what being clearly ahead of the peers means."""

import dataclasses
import os
from collections.abc import Callable

# Sizes are divided by this for a trial.
ROWS_SHARE = int(os.environ.get("ROWS_SHARE", 1))
THREADS = int(os.environ.get("THREADS", os.cpu_count()))

# Digits that a right answer has. The columns reach mean / sd = 100. Rows of f32 hold 7.2 digits: two go with the mean,
# one with sums in their own format. Rows of f64 hold 15.9: a one-pass formula, which loses the square of mean / sd, may
# pass, and as much as two more may go with its sums.
RIGHT_F32 = 4.0
RIGHT_F64 = 9.0


@dataclasses.dataclass(frozen=True)
class Task:
    """One line of the table."""

    name: str
    # What TASKS selects by.
    group: str
    title: str
    # The function that an engine has for it.
    kind: str
    # Peers as `module` or `module/variant`, and Millstream's workers, of which the first is judged.
    peers: tuple[str, ...]
    ours: tuple[str, ...]
    # The ratio to the best right peer that counts as clearly ahead.
    ahead: float
    # Makes what is not there yet: (files by name, reference).
    prepare: Callable[[], tuple[dict, dict]]
    # (answer by name, reference) to digits.
    digits: Callable[[dict, dict], float]
    rows: int
    columns: int
    dtype: str = "f64"
    # Digits below which an answer is wrong.
    right: float = RIGHT_F64
    threads: int = THREADS
    parameters: dict = dataclasses.field(default_factory=dict)
    # An engine that states what the machine allows, beside the peers.
    limits: tuple[str, ...] = ()
    remark: str = ""

    def document(self, files, scratch):
        """What a worker is told."""
        return {
            "kind": self.kind,
            "rows": self.rows,
            "columns": self.columns,
            "dtype": self.dtype,
            "threads": self.threads,
            "parameters": self.parameters,
            "files": {name: str(path) for name, path in files.items()},
            "scratch": str(scratch),
        }


def rows(full):
    """The rows of a task of this full size, in whole hundreds so that a hundred batches are equally long."""
    return max(full // ROWS_SHARE // 100 * 100, 1000)


def size(count):
    """1000000 as 1M."""
    for unit, name in ((10**6, "M"), (10**3, "k")):
        if count >= unit:
            return f"{count / unit:g}{name}"
    return str(count)


def right(dtype):
    """Digits below which an answer about such numbers is wrong."""
    return RIGHT_F32 if dtype == "f32" else RIGHT_F64
