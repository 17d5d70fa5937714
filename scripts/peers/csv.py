"""A csv file to means and variances: Millstream, polars (streaming engine) and duckdb, one process a run, in turn.

Two times are taken of every run: the whole process, and for the python peers the query alone, so that the start of the
interpreter and the imports count for nobody. Millstream is compared by its whole process with the peers' query alone.
"""

import datetime
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

ROWS = int(os.environ.get("ROWS", 5_000_000))
RUNS = int(os.environ.get("RUNS", 9))
THREADS = int(os.environ.get("THREADS", os.cpu_count()))
COLUMNS = 8
# Every engine computes in f64; the worst column (mean/sd = 1000) costs a one-pass formula six of its sixteen digits.
AGREEMENT = 1e-9
FOLDER = pathlib.Path("target/peers")
MILLSTREAM = "target/release/millstream"


def generate(path):
    """Writes the file and the reference: eight columns of decimals with 7 to 9 significant digits."""
    import numpy
    import polars

    random = numpy.random.Generator(numpy.random.PCG64(20260101))
    scales = [(50, 10, 6), (1000, 1, 5), (0, 1, 7), (20, 8, 6), (400, 60, 5), (0.5, 0.1, 8), (-30, 5, 6), (9000, 800, 4)]
    columns = {f"c{i}": random.normal(m, s, ROWS).round(d) for i, (m, s, d) in enumerate(scales)}
    assert len(columns) == COLUMNS
    reference = {}
    for name, values in columns.items():
        wide = values.astype(numpy.longdouble)
        mean = wide.sum() / ROWS
        deviation = wide - mean
        variance = (deviation * deviation).sum() / (ROWS - 1)
        reference[name] = [float(mean), float(variance)]
    part = path.with_suffix(".part")
    polars.DataFrame(columns).write_csv(part)
    path.with_suffix(".json").write_text(json.dumps(reference))
    part.rename(path)


def run_polars(path):
    import polars

    start = time.perf_counter()
    frame = polars.scan_csv(path)
    names = [f"c{i}" for i in range(COLUMNS)]
    answer = frame.select(
        [polars.col(n).mean().alias(n + "_mean") for n in names] + [polars.col(n).var().alias(n + "_variance") for n in names]
    ).collect(engine="streaming")
    seconds = time.perf_counter() - start
    row = answer.row(0, named=True)
    return seconds, {n: [row[n + "_mean"], row[n + "_variance"]] for n in names}


def run_duckdb(path):
    import duckdb

    connection = duckdb.connect(config={"threads": THREADS})
    names = [f"c{i}" for i in range(COLUMNS)]
    terms = ", ".join(f"avg({n}), var_samp({n})" for n in names)
    start = time.perf_counter()
    row = connection.execute(f"SELECT {terms} FROM read_csv('{path}')").fetchone()
    seconds = time.perf_counter() - start
    return seconds, {n: [row[2 * i], row[2 * i + 1]] for i, n in enumerate(names)}


PEERS = {"polars": run_polars, "duckdb": run_duckdb}


def measure(engine, path):
    """One run in a process of its own: (whole process, query alone or None, answer)."""
    environment = dict(os.environ, POLARS_MAX_THREADS=str(THREADS))
    if engine == "millstream":
        command = [MILLSTREAM, "analyze", str(path), "--format", "json", "--threads", str(THREADS)]
    else:
        command = [sys.executable, __file__, engine, str(path)]
    start = time.perf_counter()
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    whole = time.perf_counter() - start
    answer = json.loads(done.stdout)
    if engine == "millstream":
        assert answer["rows"] == ROWS, f"millstream read {answer['rows']} rows"
        columns = answer["groups"][0]["columns"]
        return whole, None, {n: [c["mean"], c["variance"]] for n, c in columns.items()}
    return whole, answer["seconds"], answer["columns"]


def check(engine, answer, reference):
    """The largest relative error; an answer that does not agree ends the comparison."""
    worst = 0.0
    for name, exact in reference.items():
        mean, variance = exact
        # A mean near zero is measured against the column's standard deviation.
        worst = max(worst, abs(answer[name][0] - mean) / max(abs(mean), variance**0.5))
        worst = max(worst, abs(answer[name][1] - variance) / variance)
    if not worst <= AGREEMENT:
        sys.exit(f"{engine} does not agree: relative error {worst:.3g}")
    return worst


def machine():
    model = platform.processor() or platform.machine()
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return {"cpu": model, "cores": os.cpu_count(), "system": platform.platform()}


def versions(engines):
    import duckdb
    import numpy
    import polars

    found = {"polars": polars.__version__, "duckdb": duckdb.__version__, "numpy": numpy.__version__}
    found["python"] = platform.python_version()
    if "millstream" in engines:
        found["millstream"] = subprocess.run([MILLSTREAM, "--version"], capture_output=True, text=True, check=True).stdout.strip()
        describe = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True)
        found["commit"] = describe.stdout.strip()
    return found


def spread(seconds):
    return {"median": statistics.median(seconds), "min": min(seconds), "max": max(seconds)}


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"csv-{ROWS}.csv"
    if not path.exists():
        print(f"generating {path}", file=sys.stderr)
        subprocess.run([sys.executable, __file__, "generate", str(path)], check=True)
    reference = json.loads(path.with_suffix(".json").read_text())
    peers_only = os.environ.get("PEERS_ONLY", "0") == "1"
    engines = list(PEERS) if peers_only else ["millstream", *PEERS]

    # The file comes from the page cache for everyone: one round that is not counted.
    times = {engine: {"process": [], "query": []} for engine in engines}
    errors = dict.fromkeys(engines, 0.0)
    for round_number in range(RUNS + 1):
        for engine in engines:
            whole, query, answer = measure(engine, path)
            errors[engine] = max(errors[engine], check(engine, answer, reference))
            if round_number > 0:
                times[engine]["process"].append(whole)
                times[engine]["query"].append(whole if query is None else query)

    result = {
        "task": "csv to means and variances",
        "command": f"ROWS={ROWS} RUNS={RUNS} THREADS={THREADS} scripts/peers/csv",
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "machine": machine(),
        "threads": THREADS,
        "versions": versions(engines),
        "file": {"rows": ROWS, "columns": COLUMNS, "size_bytes": path.stat().st_size},
        "runs": RUNS,
        "seconds": {e: {kind: spread(t) for kind, t in times[e].items()} for e in engines},
        "largest_relative_error": errors,
    }
    size_mb = result["file"]["size_bytes"] / 1e6
    print(f"{result['machine']['cpu']}, {result['machine']['cores']} cores, {THREADS} threads; {result['machine']['system']}")
    print(", ".join(f"{k} {v}" for k, v in result["versions"].items()))
    print(f"{ROWS} rows x {COLUMNS} columns, {size_mb:.0f} MB, {RUNS} runs in turn\n")
    print("| engine | query, median s (min–max) | process, median s (min–max) | MB/s | largest relative error |")
    print("|---|---|---|---|---|")
    for engine in engines:
        query, process = result["seconds"][engine]["query"], result["seconds"][engine]["process"]
        cells = [f"{t['median']:.3f} ({t['min']:.3f}–{t['max']:.3f})" for t in (query, process)]
        print(f"| {engine} | {cells[0]} | {cells[1]} | {size_mb / query['median']:.0f} | {errors[engine]:.1e} |")
    if not peers_only and RUNS >= 7:
        target = pathlib.Path(f"benches/results/csv-{result['date'][:10]}.json")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(result, indent=2) + "\n")
        print(f"\nwritten to {target}", file=sys.stderr)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    elif sys.argv[1] == "generate":
        generate(pathlib.Path(sys.argv[2]))
    else:
        seconds, columns = PEERS[sys.argv[1]](sys.argv[2])
        print(json.dumps({"seconds": seconds, "columns": columns}))
