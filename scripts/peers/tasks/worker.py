"""One peer in a process of its own: loads the data of a task in the engine's layout, then runs it whenever it is told.

    worker.py ENGINE TASK.json

Lines of standard input are `check` (one call, its answer in files) and `run` (calls for a while, the median counts);
each is answered by one line of JSON on standard output. What libraries print goes to standard error.
"""

import importlib
import importlib.metadata
import json
import os
import pathlib
import statistics
import sys
import time

import numpy

from prepared import Data, Stream

# Calls of one turn: as many as fit in this time, so that a call of a millisecond is not one sample.
TURN_S = 0.25
CALLS_MAX = 25


def percentile(sorted_values, share):
    """The value that this share of the values does not exceed."""
    return sorted_values[min(len(sorted_values) - 1, int(share * len(sorted_values)))]


def call(prepared):
    """(seconds, steps' seconds, what came of it)."""
    clock = time.perf_counter
    if not isinstance(prepared, Stream):
        start = clock()
        found = prepared.run()
        # An engine that starts a process times it itself.
        return clock() - start, [], found
    steps = []
    start = clock()
    state = prepared.begin()
    before = clock()
    for batch in prepared.batches:
        after_step = prepared.step(state, batch)
        if after_step is not None:
            state = after_step
        now = clock()
        steps.append(now - before)
        before = now
    found = prepared.finish(state)
    return clock() - start, steps, found


def turn(prepared, clock=time.perf_counter):
    """Calls for a while: medians."""
    seconds, steps = [], []
    start = clock()
    while not seconds or (clock() - start < TURN_S and len(seconds) < CALLS_MAX):
        elapsed, more, _ = call(prepared)
        seconds.append(elapsed)
        steps += more
    answer = {"seconds": statistics.median(seconds), "calls": len(seconds)}
    if steps:
        steps.sort()
        answer |= {"p50": percentile(steps, 0.5), "p99": percentile(steps, 0.99)}
    return answer


def check(prepared, engine, scratch):
    """One call, and its answer in files of f64."""
    seconds, _, found = call(prepared)
    files = {}
    for name, values in prepared.answer(found).items():
        path = scratch / f"{engine.replace('/', '-')}.{name}.f64"
        numpy.ascontiguousarray(values, dtype=numpy.float64).ravel().tofile(path)
        files[name] = str(path)
    return {"seconds": seconds, "answer": files}


def main():
    engine, document = sys.argv[1], json.loads(pathlib.Path(sys.argv[2]).read_text())
    # Libraries may print: what the driver reads is kept apart.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(line):
        answers.write(json.dumps(line) + "\n")
        answers.flush()

    module, _, variant = engine.partition("/")
    implementation = importlib.import_module(f"engines.{module}")
    function = document["kind"] + (f"_{variant}" if variant else "")
    prepared = getattr(implementation, function)(Data(document))
    say({"layout": prepared.layout, "version": implementation.version()})
    for line in sys.stdin:
        if line.strip() == "check":
            say(check(prepared, engine, pathlib.Path(document["scratch"])))
        else:
            say(turn(prepared))


if __name__ == "__main__":
    main()
