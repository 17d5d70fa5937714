"""The same feed through Millstream, polars, duckdb, a numpy loop, river, Spark and Flink, one process a run, in turn.

The feed is `millstream generate`'s, and so is what is expected of it; every answer is compared with that before its time
counts. The windows that an engine leaves open at the end of its input (Spark does) are counted, not forgiven silently.
"""

import datetime
import json
import math
import os
import pathlib
import platform
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import provenance

ROWS = int(os.environ.get("ROWS", 5_000_000))
RUNS = int(os.environ.get("RUNS", 7))
COLUMNS = [f"c{i}" for i in range(8)]
KEYS = 100
WINDOWS = 20
# Every engine computes in f64; on this feed a one-pass formula loses two of its sixteen digits.
AGREEMENT = 1e-9
FOLDER = pathlib.Path("target/peers")
MILLSTREAM = os.environ.get("MILLSTREAM", "target/release/millstream")
PATIENCE_S = 900

# (engine, form of the input, share of the rows, environment)
ENGINES = [
    ("millstream", "csv", 1, None),
    ("millstream", "binary", 1, None),
    ("polars", "csv", 1, ".venv"),
    ("polars", "memory", 1, ".venv"),
    ("duckdb", "csv", 1, ".venv"),
    ("duckdb", "memory", 1, ".venv"),
    ("numpy", "binary", 1, ".venv"),
    ("river", "csv", 25, ".venv"),
    ("spark", "csv", 5, ".venv"),
    ("flink", "csv", 5, ".venv-flink"),
]
PACKAGES = {"spark": "pyspark", "flink": "apache-flink"}
LAWS = {"usual": ("20", "2"), "hard": ("1e9", "1")}


def generate(law, rows, form, *to):
    """The feed and its expectation; what the sender said comes back."""
    mean, sd = LAWS[law]
    step = max(1, WINDOWS * 10**9 // rows)
    command = [MILLSTREAM, "generate", "--rows", str(rows), "--columns", "8", "--keys", str(KEYS), "--step", f"{step}ns"]
    command += ["--mean", mean, "--sd", sd, "--format", form, *to]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def feed(law, rows, form, header=True):
    """A file of the feed, made once, and the exact reports by (window, key)."""
    name = FOLDER / f"feed-{law}-{rows}{'' if header else '-bare'}.{form}"
    expected = FOLDER / f"feed-{law}-{rows}.expected"
    if not name.exists() or not expected.exists():
        print(f"generating {name}", file=sys.stderr)
        more = [] if header else ["--no-header"]
        generate(law, rows, form, "-o", str(name), "--expect", str(expected), "--window", "1s", *more)
    return name, read_expected(expected)


def window_ms(text):
    return round(datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)


def read_expected(path):
    found = {}
    for line in path.read_text().splitlines():
        report = json.loads(line)
        if "conservation" not in report:
            found[window_ms(report["window"]["start"]), report["key"]["key"]] = report
    return found


def from_millstream(lines):
    for line in lines:
        report = json.loads(line)
        columns = [report["columns"][c] for c in COLUMNS]
        yield {
            "window": window_ms(report["window"]["start"]),
            "key": round(report["key"]["key"]),
            "count": report["rows"],
            "mean": [c["mean"] for c in columns],
            "variance": [c["variance"] for c in columns],
        }


def check(reports, expected):
    """(largest relative error of a mean, of a variance, windows and keys without a report); wrong counts end it."""
    mean_error = variance_error = 0.0
    seen = set()
    for report in reports:
        place = report["window"], report["key"]
        want = expected.get(place)
        if want is None or place in seen:
            raise ValueError(f"{place} reported {'twice' if want else 'and not expected'}")
        seen.add(place)
        if report["count"] != want["rows"]:
            raise ValueError(f"{place}: {report['count']} rows instead of {want['rows']}")
        for name, mean, variance in zip(COLUMNS, report["mean"], report["variance"]):
            exact = want["columns"][name]
            scale = max(abs(exact["mean"]), exact["std"] or 0.0)
            mean_error = max(mean_error, abs(mean - exact["mean"]) / scale)
            if exact["variance"]:
                error = math.inf if variance is None or variance != variance else abs(variance / exact["variance"] - 1)
                variance_error = max(variance_error, error)
    return mean_error, variance_error, len(expected) - len(seen)


CONFIGURATION = """
[feed]
name = "main"
{way}
[rows]
time = "ts"
time_unit = "ms"
key = ["key"]
columns = {columns}
[window]
size = "1s"
[statistics]
moments = true
order = 2
[[sink]]
type = "stdout"
format = "ndjson"
"""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def is_listening(port):
    lines = pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(f[3] == "0A" and f[1].endswith(f":{port:04X}") for f in map(str.split, lines))


def await_listening(port, process):
    deadline = time.monotonic() + 60
    while not is_listening(port):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"nothing listens on port {port}")
        time.sleep(0.002)


def peak_bytes(pid):
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024
    except (OSError, IndexError):
        return 0


def watched(command, **options):
    """Runs to its end: (process seconds, most memory of any process that it waited for, output)."""
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    timer = threading.Timer(PATIENCE_S, process.kill)
    timer.start()
    peak = 0

    def look():
        nonlocal peak
        while process.poll() is None:
            # A Java engine's memory is its child's.
            pids = [process.pid]
            for pid in pids:
                try:
                    pids += pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
                except OSError:
                    pass
            peak = max(peak, sum(peak_bytes(pid) for pid in pids))
            time.sleep(0.02)

    looker = threading.Thread(target=look)
    looker.start()
    output, messages = process.communicate()
    timer.cancel()
    looker.join()
    if process.returncode != 0:
        raise RuntimeError(messages.decode(errors="replace").strip()[-400:] or f"status {process.returncode}")
    return time.perf_counter() - begun, peak, output


def run_millstream(form, law, rows):
    columns = json.dumps(COLUMNS)
    path = FOLDER / "run.toml"
    if form == "csv":
        name, expected = feed(law, rows, "csv")
        path.write_text(CONFIGURATION.format(way=f'type = "file"\npath = "{name}"\nformat = "csv"', columns=columns))
        seconds, peak, output = watched([MILLSTREAM, "run", str(path)])
        # The whole process, where the peers have their query alone.
        return seconds, peak, list(from_millstream(output.splitlines())), expected
    port = free_port()
    names = json.dumps(["ts", "key", *COLUMNS])
    way = f'type = "tcp"\nlisten = "127.0.0.1:{port}"\nformat = "binary"\ncolumns = {names}'
    path.write_text(CONFIGURATION.format(way=way, columns=columns))
    process = subprocess.Popen([MILLSTREAM, "run", str(path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        await_listening(port, process)
        lines = []

        def read():
            lines.extend((time.time_ns(), line) for line in process.stdout)

        reader = threading.Thread(target=read)
        reader.start()
        expected_path, log = FOLDER / "sent.expected", FOLDER / "sent.csv"
        to = ["--to", f"tcp://127.0.0.1:{port}", "--replay", "--window", "1s"]
        generate(law, rows, "binary", *to, "--expect", str(expected_path), "--sent-log", str(log))
        expected = read_expected(expected_path)
        last = max(window for window, _ in expected)
        closed = sum(window < last for window, _ in expected)
        deadline = time.monotonic() + 60
        while len(lines) < closed:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{len(lines)} of {closed} reports came")
            time.sleep(0.002)
        begun_ns = int(log.read_text().splitlines()[1].split(",")[1])
        seconds = (lines[closed - 1][0] - begun_ns) / 1e9
        time.sleep(0.3)
        peak = peak_bytes(process.pid)
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        reader.join()
    finally:
        process.kill()
    # The last window's rows take as long as the others'.
    share = sum(r["rows"] for (w, _), r in expected.items() if w < last) / rows
    return seconds / share, peak, list(from_millstream(line for _, line in lines)), expected


def run_peer(engine, form, environment, law, rows):
    answer = FOLDER / "answer.json"
    answer.unlink(missing_ok=True)
    command = [f"{environment}/bin/python", str(HERE / "engines.py"), engine]
    if form == "binary":
        port = free_port()
        process = subprocess.Popen([*command, str(port), form, str(answer)], stderr=subprocess.PIPE)
        try:
            await_listening(port, process)
            expected_path = FOLDER / "sent.expected"
            to = ["--to", f"tcp://127.0.0.1:{port}", "--replay", "--window", "1s"]
            peak = 0
            generate(law, rows, "binary", *to, "--expect", str(expected_path))
            while process.poll() is None:
                peak = max(peak, peak_bytes(process.pid))
                time.sleep(0.01)
            if process.returncode != 0:
                raise RuntimeError(process.stderr.read().decode(errors="replace").strip()[-400:])
        finally:
            process.kill()
        expected = read_expected(expected_path)
    else:
        name, expected = feed(law, rows, "csv" if form == "csv" else "arrow", header=engine != "flink")
        # Spark asks for local time otherwise.
        options = dict(os.environ, TZ="UTC")
        _, peak, _ = watched([*command, str(name), form, str(answer)], env=options)
    document = json.loads(answer.read_text())
    return document["seconds"], peak, document["reports"], expected


def once(engine, form, environment, law, rows):
    if engine == "millstream":
        return run_millstream(form, law, rows)
    return run_peer(engine, form, environment, law, rows)


def version(engine, environment):
    if engine == "millstream":
        return subprocess.run([MILLSTREAM, "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]
    package = PACKAGES.get(engine, engine)
    code = f"import importlib.metadata as m; print(m.version('{package}'))"
    command = [f"{environment}/bin/python", "-c", code]
    found = subprocess.run(command, capture_output=True, text=True)
    return found.stdout.strip() if found.returncode == 0 else None


def measure(result, round_number):
    """One run, and in the first round the hard law too."""
    engine, form, environment, rows = result["engine"], result["form"], result["environment"], result["rows"]
    try:
        seconds, peak, reports, expected = once(engine, form, environment, "usual", rows)
        mean_error, variance_error, open_windows = check(reports, expected)
        if max(mean_error, variance_error) > AGREEMENT:
            raise ValueError(f"does not agree: relative errors {mean_error:.1e} and {variance_error:.1e}")
        if open_windows > KEYS:
            raise ValueError(f"{open_windows} windows and keys without a report")
        result["without_report"] = open_windows
        result["variance_error"] = max(result.get("variance_error", 0.0), variance_error)
        result["peak_bytes"] = max(result.get("peak_bytes", 0), peak)
        if round_number == 0:
            _, _, reports, expected = once(engine, form, environment, "hard", min(rows, 200_000))
            _, error, _ = check(reports, expected)
            # Half of the variance's relative error is the standard deviation's.
            result["digits"] = 15.9 if error == 0 else min(15.9, -math.log10(error / 2)) if error < 2 else 0.0
        else:
            result["seconds"].append(seconds)
    except (ValueError, RuntimeError, OSError, subprocess.SubprocessError) as error:
        text = error.stderr.decode(errors="replace") if getattr(error, "stderr", None) else str(error)
        print(f"{engine} {form}: {text}", file=sys.stderr)
        result["failed"] = text.strip().splitlines()[-1][:160] if text.strip() else type(error).__name__


def table(results, facts):
    yield f"{facts['machine']['cpu']}, {facts['machine']['cores']} cores; {facts['machine']['system']}"
    yield ""
    yield f"`{facts['command']}`: rows of a time, one of {KEYS} keys and 8 numbers, in order; windows of 1 s by key; count, "
    yield "mean and variance; checked against the exact reports. Millstream's csv is the whole process, the peers' the query "
    yield "alone; binary is over TCP from a sender on the same cores; memory is without reading."
    yield ""
    yield "| engine | input | rows | million rows/s, median (min–max) | peak memory, MB | digits of std at 1e9 ± 1 | remarks |"
    yield "|---|---|---|---|---|---|---|"
    for r in results:
        name = f"{r['engine']} {r['version'] or ''}".strip()
        if "failed" in r or not r["seconds"]:
            yield f"| {name} | {r['form']} | – | – | – | – | not measured: {r.get('failed', 'no run')} |"
            continue
        rates = sorted(r["rows"] / s / 1e6 for s in r["seconds"])
        rate = f"{statistics.median(rates):.2f} ({rates[0]:.2f}–{rates[-1]:.2f})"
        remark = f"{r['without_report']} windows and keys never reported" if r["without_report"] else ""
        memory = r["peak_bytes"] / 1e6
        yield f"| {name} | {r['form']} | {r['rows']} | {rate} | {memory:.0f} | {r.get('digits', 0):.1f} | {remark} |"


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    peers_only = os.environ.get("PEERS_ONLY", "0") == "1"
    chosen = [e for e in os.environ.get("ENGINES", "").split(",") if e]
    results = []
    for engine, form, share, environment in ENGINES:
        if (peers_only and engine == "millstream") or (chosen and engine not in chosen):
            continue
        found = version(engine, environment)
        result = {"engine": engine, "form": form, "rows": ROWS // share, "environment": environment, "version": found}
        result["seconds"] = []
        if found is None:
            result["failed"] = "the package cannot be had here"
        results.append(result)
    # The first round is not counted: files come from the page cache for everyone.
    for round_number in range(RUNS + 1):
        for result in results:
            if "failed" not in result:
                print(f"round {round_number}: {result['engine']} {result['form']}", file=sys.stderr)
                measure(result, round_number)
    facts = {
        "task": "a feed to means and variances by window and key",
        "command": f"ROWS={ROWS} RUNS={RUNS} scripts/peers/feed/run",
        "date": provenance.now(),
        "machine": provenance.machine(),
        "python": platform.python_version(),
        "commit": provenance.commit(),
        "engines": results,
    }
    text = "\n".join(table(results, facts)) + "\n"
    print(text)
    if not peers_only and not chosen and RUNS >= 5:
        target = pathlib.Path(f"benches/results/peers-feed-{facts['date'][:10]}")
        target.with_suffix(".json").write_text(json.dumps(facts, indent=2) + "\n")
        target.with_suffix(".md").write_text("# The same feed through each engine\n\n" + text)
        print(f"written to {target}.json and .md", file=sys.stderr)


if __name__ == "__main__":
    main()
