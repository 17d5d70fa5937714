"""The results as text: who is how far ahead, and every time behind it."""

import statistics

NAMES = {
    "onedal": "oneDAL",
    "sklearn": "scikit-learn",
    "mkl": "MKL",
    "millstream": "Millstream",
    "command": "Millstream's command",
}


def label(engine):
    """As it stands in the table."""
    module, _, variant = engine.partition("/")
    return NAMES.get(module, module) + (f" {variant}" if variant else "")


def median(result):
    """Seconds, or None where there are none."""
    return statistics.median(result["seconds"]) if result["seconds"] else None


def verdict(task):
    """Whom Millstream is compared with, and how far ahead of it Millstream is."""
    by_engine = {r["engine"]: r for r in task["engines"]}
    apart = {*task["ours"], *task["limits"]}
    right = [r for e, r in by_engine.items() if e not in apart and r["seconds"] and r.get("right")]
    best = min(right, key=median, default=None)
    own = by_engine.get(task["ours"][0])
    has_own = own is not None and own["seconds"] and own.get("right")
    return {
        "best_peer": best["engine"] if best else None,
        "ratio": median(best) / median(own) if best and has_own else None,
    }


def duration(seconds):
    """Three digits and a unit."""
    for unit, name in ((1, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= unit:
            return f"{seconds / unit:#.3g}".rstrip(".") + f" {name}"
    return f"{seconds * 1e9:#.3g}".rstrip(".") + " ns"


def reason(result):
    """Why there is no time, as it may stand in a table."""
    return result.get("failed", "not measured").replace("|", "/")


def cell(result):
    """The time of one engine in a line of the summary."""
    if result is None:
        return "–"
    if not result["seconds"]:
        return reason(result)
    wrong = " **wrong**" if result.get("right") is False else ""
    return duration(median(result)) + wrong


def standing(task):
    """The ratio in words."""
    ratio = task["ratio"]
    if ratio is None:
        return "–"
    mark = "" if ratio >= task["clearly_ahead"] else (" short" if ratio >= 1 else " **behind**")
    return f"{ratio:.2f}{mark}"


def without_peer(task):
    """Why there is nothing to compare with."""
    apart = {*task["ours"], *task["limits"]}
    measured = any(r["seconds"] for r in task["engines"] if r["engine"] not in apart)
    return "none is right" if measured else "–"


def line(task):
    """One task in the summary."""
    by_engine = {r["engine"]: r for r in task["engines"]}
    own = cell(by_engine.get(task["ours"][0]))
    if len(task["ours"]) > 1:
        own += "".join(f"; {label(e)} {cell(by_engine.get(e))}" for e in task["ours"][1:])
    best = task["best_peer"]
    peer = f"{label(best)} {cell(by_engine[best])}" if best else without_peer(task)
    limit = ", ".join(f"{'' if e == 'limit' else label(e) + ' '}{cell(by_engine.get(e))}" for e in task["limits"])
    columns = [task["title"], own, peer, standing(task), f"{task['clearly_ahead']:g}", limit or "–"]
    return f"| {' | '.join(columns)} |"


def accuracy_lines(lines):
    """Digits by engine and set."""
    sets = list(dict.fromkeys(s for line in lines for s in line["digits"]))
    yield f"| engine | takes | {' | '.join(sets)} |"
    yield "|---" * (2 + len(sets)) + "|"
    for entry in lines:
        digits = [entry["digits"].get(s) for s in sets]
        if all(d is None for d in digits):
            cells = [reason(entry)] + [""] * (len(sets) - 1)
        else:
            cells = ["–" if d is None else f"{d:.1f}" for d in digits]
        name = f"{label(entry['engine'])} {entry.get('version', '')}".strip()
        yield f"| {name} | {entry['way']} | {' | '.join(cells)} |"


def measured_again(document):
    """Titles of tasks by the date and commit of a later run."""
    runs = {}
    for task in document["tasks"]:
        if task.get("commit", document["commit"]) != document["commit"]:
            runs.setdefault((task["date"][:10], task["commit"]), []).append(task["title"])
    return runs


def detail_lines(task):
    """Every engine of one task."""
    yield f"### {task['title']}"
    yield ""
    threads = task["threads"]
    plural = "s" if threads > 1 else ""
    yield f"{task['rows']:,} rows, {threads} thread{plural}; right is {task['right_digits']:g} digits."
    if task["remark"]:
        yield task["remark"] + "."
    yield ""
    stepped = any("p50" in r for r in task["engines"])
    yield f"| engine | layout | median (min–max) |{' batch p50 | batch p99 |' if stepped else ''} digits | |"
    yield f"|---|---|---|{'---|---|' if stepped else ''}---|---|"
    for r in task["engines"]:
        limit = r["engine"] == "limit"
        name = "limit" if limit else f"{label(r['engine'])} {r.get('version', '')}".strip()
        steps = [duration(statistics.median(r[p])) if r.get(p) else "–" for p in ("p50", "p99")] if stepped else []
        if r["seconds"]:
            time = f"{duration(median(r))} ({duration(min(r['seconds']))}–{duration(max(r['seconds']))})"
            remark = "wrong" if r.get("right") is False else ""
        else:
            time, remark = "–", reason(r)
        digits = f"{r['digits']:.1f}" if r.get("digits") is not None and not limit else "–"
        cells = [name, r.get("layout", "–"), time, *steps, digits, remark]
        yield f"| {' | '.join(cells)} |"
    yield ""


def page(document, picture):
    """The whole text."""
    facts = document["machine"]
    out = ["# Millstream beside other engines", ""]
    out += [
        f"{facts['cpu']}, {facts['cores']} cores; {facts['system']}; python {document['python']}; {document['date']}",
        "",
    ]
    trial = f" ({document['trial']})" if document["trial"] else ""
    out += [
        f"`{document['command']}` at {document['commit']}{trial}. Each engine is a process of its own and holds the "
        f"data in its own layout; they are called in turn, and the medians of {document['runs']} rounds count. "
        "The ratio is the time of the quickest right peer to Millstream's. "
        "A time whose answer has too few right digits is marked wrong and compared with nothing.",
        "",
    ]
    out += [f"![Ratios of the best right peer's time to Millstream's]({picture})", ""]
    for (date, commit), titles in measured_again(document).items():
        out += [f"Measured again on {date} at {commit}, engines and all: {', '.join(titles)}.", ""]
    if document["accuracy"]:
        out += ["## Digits of the standard deviation", "", *accuracy_lines(document["accuracy"]), ""]
    out += ["## Times", "", "| task | Millstream | best right peer | ratio | clearly ahead is | limit |"]
    out += ["|---|---|---|---|---|---|", *map(line, document["tasks"]), ""]
    out += ["## Every engine", ""]
    for task in document["tasks"]:
        out += detail_lines(task)
    return "\n".join(out)
