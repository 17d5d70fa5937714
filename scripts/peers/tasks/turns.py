"""Engines in turn: each in a process of its own that holds the data of a task and runs it whenever it is told."""

import json
import os
import pathlib
import queue
import statistics
import subprocess
import sys
import threading
import time
from functools import partial

import numpy

from data import FOLDER

HERE = pathlib.Path(__file__).parent
# For one answer; the slowest load and the slowest call take a part of it.
PATIENCE_S = 300
# Between two turns: threads of an engine that wait in a loop for more work (OpenMP's do for 0.2 s) are asleep then.
PAUSE_S = 0.25

# Engines that load at the same time: while they convert, they hold the data two or three times.
LOADING_AT_ONCE = 2

THREAD_VARIABLES = [
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "RAYON_NUM_THREADS",
    "TOKIO_WORKER_THREADS",
]


class Failed(Exception):
    """An engine that gave no answer; the text says why."""


def is_ours(engine):
    """Whether it is a worker of the bench binary."""
    return engine.split("/")[0] in ("millstream", "limit")


def environment(threads):
    """Every engine's own word for the number of threads."""
    return dict(os.environ, **{name: str(threads) for name in THREAD_VARIABLES})


class Worker:
    """The process of one engine with the data of one task."""

    def __init__(self, engine, task_file, threads):
        self.engine = engine
        bench = os.environ.get("MILLSTREAM_BENCH")
        if is_ours(engine):
            if not bench:
                raise Failed("not built")
            command = [bench, engine, str(task_file)]
        else:
            command = [sys.executable, str(HERE / "worker.py"), engine, str(task_file)]
        self.log = (FOLDER / f"{engine.replace('/', '-')}.log").open("w+")
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env=environment(threads),
        )
        self.lines = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def ready(self):
        """Waits until the data is loaded: layout and version."""
        return self._answer()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def _answer(self):
        try:
            line = self.lines.get(timeout=PATIENCE_S)
        except queue.Empty:
            self.process.kill()
            raise Failed(f"no answer in {PATIENCE_S} s") from None
        if line is None:
            self.process.wait()
            raise Failed(self._last_words())
        return json.loads(line)

    def _last_words(self):
        self.log.seek(0)
        said = [line.strip() for line in self.log if line.strip()]
        return said[-1][:160] if said else f"ended with status {self.process.returncode}"

    def ask(self, word):
        """One line there, one line back."""
        try:
            self.process.stdin.write(word + "\n")
            self.process.stdin.flush()
        except OSError:
            raise Failed(self._last_words()) from None
        return self._answer()

    def end(self):
        """Ends the process, which may have ended."""
        self.process.kill()
        self.process.wait()
        self.log.close()


def loaded(task, task_file, results):
    """The workers that hold the data, by engine; of the others the result says why not."""
    workers, loading = {}, []
    for result in [*results, *[None] * LOADING_AT_ONCE]:
        if len(loading) == LOADING_AT_ONCE or (result is None and loading):
            first = loading.pop(0)
            attempt(first, workers[first["engine"]], lambda r, w: r.update(w.ready()))
        if result is None:
            continue
        try:
            workers[result["engine"]] = Worker(result["engine"], task_file, task.threads)
            loading.append(result)
        except Failed as failed:
            result["failed"] = str(failed)
    return workers


def measured(task, engines, rounds):
    """One result an engine: answers first, checked; then seconds, in turn, round by round."""
    files, reference = task.prepare()
    scratch = FOLDER / "answers"
    scratch.mkdir(parents=True, exist_ok=True)
    task_file = FOLDER / "task.json"
    task_file.write_text(json.dumps(task.document(files, scratch)))
    results = [{"engine": engine, "seconds": []} for engine in engines]
    workers = loaded(task, task_file, results)
    try:
        for turn in range(rounds + 1):
            for result in results:
                if "failed" not in result:
                    time.sleep(PAUSE_S if turn else 0)
                    what = timed if turn else partial(checked, task, reference)
                    attempt(result, workers[result["engine"]], what)
    finally:
        for worker in workers.values():
            worker.end()
    return results


def attempt(result, worker, what):
    """An engine that fails is a line of the table and not the end of the run."""
    try:
        what(result, worker)
    except Failed as failed:
        result["failed"] = str(failed)


def checked(task, reference, result, worker):
    """The round that is not counted: the answer, and how many of its digits are right."""
    document = worker.ask("check")
    answer = {name: numpy.fromfile(path) for name, path in document["answer"].items()}
    for path in document["answer"].values():
        pathlib.Path(path).unlink()
    if result["engine"] == "limit":
        # It does less than the task asks for.
        return
    result["digits"] = round(task.digits(answer, reference), 2)
    result["right"] = bool(result["digits"] >= task.right)


def timed(result, worker):
    """One turn."""
    document = worker.ask("run")
    result["seconds"].append(document["seconds"])
    for name in ("p50", "p99"):
        if name in document:
            result.setdefault(name, []).append(document[name])


def spread(values):
    """Median, least and greatest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}
