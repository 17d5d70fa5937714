"""Streams a csv much larger than memory may hold into `millstream analyze -`, and watches the peak of its memory.

The values are integers over 1000 from a linear congruence, so that the exact sums are known: the means of the report
are compared with them.
"""

import json
import os
import resource
import subprocess
import sys
import time

BLOCKS = int(os.environ.get("BLOCKS", 100))
BLOCK_ROWS = int(os.environ.get("BLOCK_ROWS", 500_000))
COLUMNS = 8
LIMIT_BYTES = 1_000_000_000
# Sums of 5e7 decimals with eight digits in f64: the report promises far better than this.
MEAN_TOLERANCE = 1e-12
MILLSTREAM = "target/release/millstream"


def block():
    """The text of one block, and the exact sum of each column in thousandths."""
    sums = [0] * COLUMNS
    lines = []
    state = 20260101
    for _ in range(BLOCK_ROWS):
        cells = []
        for column in range(COLUMNS):
            state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
            # 1000.000 to 99999.999: ten characters and more with the comma.
            thousandths = 1_000_000 + (state >> 33) % 99_000_000
            sums[column] += thousandths
            cells.append(f"{thousandths // 1000}.{thousandths % 1000:03d}")
        lines.append(",".join(cells))
    return ("\n".join(lines) + "\n").encode(), sums


def main():
    names = [f"c{i}" for i in range(COLUMNS)]
    command = [MILLSTREAM, "analyze", "-", "--input-format", "csv", "--format", "json"]
    # Before the block is made: a child's peak begins with the memory of the process it was split from.
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    text, sums = block()
    start = time.perf_counter()
    try:
        child.stdin.write((",".join(names) + "\n").encode())
        for _ in range(BLOCKS):
            child.stdin.write(text)
        child.stdin.close()
    except BrokenPipeError:
        pass  # It ended early; its exit status says why.
    answer = child.stdout.read()
    if child.wait() != 0:
        sys.exit(f"millstream ended with status {child.returncode}")
    seconds = time.perf_counter() - start
    # The largest of all children that ended: there was one.
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024

    report = json.loads(answer)
    rows = BLOCKS * BLOCK_ROWS
    size = len(text) * BLOCKS
    print(f"input      {size / 1e9:.2f} GB, {seconds:.1f} s, {size / 1e6 / seconds:.0f} MB/s")
    print(f"rows       {report['rows']}, expected {rows}")
    print(f"peak RSS   {peak / 1e6:.0f} MB, limit {LIMIT_BYTES / 1e6:.0f} MB")
    failures = []
    if report["rows"] != rows:
        failures.append("the row count")
    for name, total in zip(names, sums, strict=True):
        mean, exact = report["groups"][0]["columns"][name]["mean"], total / (1000 * BLOCK_ROWS)
        print(f"mean {name:5} {mean!r}, expected {exact!r}")
        if not abs(mean - exact) <= MEAN_TOLERANCE * exact:
            failures.append(f"the mean of {name}")
    if peak > LIMIT_BYTES:
        failures.append("the peak of memory")
    if failures:
        sys.exit("wrong: " + ", ".join(failures))


if __name__ == "__main__":
    main()
