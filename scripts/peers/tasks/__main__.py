"""Every engine, every task: accuracy, then times in turn, then a table, a document and a chart.

tasks                  what `scripts/peers/run` runs
tasks render FILE.json the table and the chart of a document again
"""

import importlib
import json
import os
import pathlib
import platform
import shutil
import sys

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import accuracy
import chart
import data
import provenance
import table
import turns
from task import ROWS_SHARE, THREADS

GROUPS = ["matrix", "micro", "rolling", "slopes", "keyed", "models", "files", "online"]
README_CHART = pathlib.Path("docs/peers.svg")
RUNS = int(os.environ.get("RUNS", 7))
# Fewer make no median worth writing down.
RUNS_MIN = 7


def chosen(variable):
    """The words of a list in the environment; none means all."""
    return [word for word in os.environ.get(variable, "").split(",") if word]


TASKS, ENGINES = chosen("TASKS"), chosen("ENGINES")
# The document of a whole run, in which the chosen tasks are measured again.
AGAIN = os.environ.get("AGAIN")


def wanted(engine):
    """An engine with its variants, where engines are named; the command is Millstream's."""
    module = "millstream" if engine == "command" else engine.split("/")[0]
    return not ENGINES or module in ENGINES or engine in ENGINES


def all_tasks():
    """Of all groups, in the order of the table."""
    for group in GROUPS:
        yield from importlib.import_module(f"groups.{group}").tasks()


def trial():
    """Why it is no result to write down, or nothing where it is one."""
    if ROWS_SHARE != 1:
        return f"a trial with rows divided by {ROWS_SHARE}"
    if RUNS < RUNS_MIN:
        return "a trial of few rounds"
    return "a part" if (TASKS and not AGAIN) or ENGINES else ""


def measure_accuracy():
    """One line an engine and way, with digits by set."""
    lines = []
    for way, engines, tasks in accuracy.sets():
        found = {engine: {"way": way, "engine": engine, "digits": {}} for engine in engines if wanted(engine)}
        for task in tasks:
            print(f"accuracy: {way}, {task.title}", file=sys.stderr)
            for result in turns.measured(task, list(found), 0):
                line = found[result["engine"]]
                line["digits"][task.title] = result.get("digits")
                line |= {k: result[k] for k in ("failed", "version") if k in result}
        lines += found.values()
    return lines


def measure(task):
    """The document of one task."""
    engines = [e for e in (*task.ours, *task.limits, *task.peers) if wanted(e)]
    print(f"{task.name}: {', '.join(engines)}", file=sys.stderr)
    try:
        results = turns.measured(task, engines, RUNS)
    except (OSError, ValueError, MemoryError, ImportError) as error:
        # Data that cannot be made costs this task, not the run.
        results = [{"engine": e, "seconds": [], "failed": f"no data: {error}"} for e in engines]
    found = {
        "name": task.name,
        "group": task.group,
        "title": task.title,
        "rows": task.rows,
        "threads": task.threads,
        "date": provenance.now(),
        "commit": provenance.commit(),
        "right_digits": task.right,
        "clearly_ahead": task.ahead,
        "remark": task.remark,
        "ours": list(task.ours),
        "limits": list(task.limits),
        "engines": results,
    }
    return found | table.verdict(found)


def written(document, folder, name):
    """The document, its table and its chart."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")
    rendered(document, folder, name)


def rendered(document, folder, name):
    """The forms for people."""
    (folder / f"{name}.md").write_text(table.page(document, f"{name}.svg"))
    (folder / f"{name}.svg").write_text(chart.svg(document))


def begun(machine):
    """The document before its first task: an empty one, or the one that is measured again."""
    document = {
        "command": f"RUNS={RUNS} THREADS={THREADS} scripts/peers/run",
        "date": provenance.now(),
        "machine": machine,
        "python": platform.python_version(),
        "commit": provenance.commit(),
        "trial": trial(),
        "runs": RUNS,
        "threads": THREADS,
        "accuracy": [],
        "tasks": [],
    }
    if not AGAIN:
        return document
    before = json.loads(pathlib.Path(AGAIN).read_text())
    for fact in ("machine", "python", "runs", "threads"):
        if before[fact] != document[fact]:
            sys.exit(f"{AGAIN} has another {fact}: {before[fact]}, not {document[fact]}")
    return before | {"trial": document["trial"]}


def put(document, found):
    """Takes a task in, in the place of what it was before."""
    names = [task["name"] for task in document["tasks"]]
    if found["name"] in names:
        document["tasks"][names.index(found["name"])] = found
    else:
        document["tasks"].append(found)


def main():
    if sys.argv[1:2] == ["render"]:
        path = pathlib.Path(sys.argv[2])
        rendered(json.loads(path.read_text()), path.parent, path.stem)
        return
    tasks = [t for t in all_tasks() if not TASKS or t.group in TASKS or t.name in TASKS]
    if os.environ.get("LIST") == "1":
        for task in tasks:
            print(f"{task.group:12} {task.name:28} {', '.join((*task.ours, *task.limits, *task.peers))}")
        return
    data.FOLDER.mkdir(parents=True, exist_ok=True)
    machine = provenance.machine()
    document = begun(machine)
    if not TASKS or "accuracy" in TASKS:
        document["accuracy"] = measure_accuracy()
    for task in tasks:
        found = measure(task)
        put(document, found)
        print(table.line(found), file=sys.stderr)
        # What there is, should the run be cut short.
        written(document, data.FOLDER, "result")
    written(document, data.FOLDER, "result")
    print(table.page(document, "result.svg"))
    if not document["trial"]:
        folder = pathlib.Path("benches/results")
        name = pathlib.Path(AGAIN).stem if AGAIN else f"{document['date'][:10]}-{provenance.slug(machine)}"
        written(document, folder, name)
        shutil.copy(folder / f"{name}.svg", README_CHART)
        print(f"written to {folder}/{name}.json, .md and .svg, and to {README_CHART}", file=sys.stderr)
    else:
        print(f"{document['trial']}: it lies in {data.FOLDER}/result.{{json,md,svg}} only", file=sys.stderr)


if __name__ == "__main__":
    main()
