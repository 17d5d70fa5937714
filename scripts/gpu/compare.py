#!/usr/bin/env python3
"""One table of what `millstream bench` and `torch_bench.py` measured in the same run; and one JSON file.

    python3 compare.py BENCH.json TORCH.jsonl OUT.json

Times are medians in milliseconds. Millstream computes in the precision that its report names; torch stands beside it in
f64, and in f32 behind the stroke. A dash is what was not measured.
"""
import json
import sys


def milliseconds(seconds):
    return "-" if seconds is None else f"{seconds * 1e3:.3f}"


def main():
    bench_path, torch_path, out_path = sys.argv[1:]
    with open(bench_path, encoding="utf-8") as file:
        bench = json.load(file)
    with open(torch_path, encoding="utf-8") as file:
        peers = [json.loads(line) for line in file if line.strip()]
    cells = {}
    for m in bench["measurements"]:
        cell = cells.setdefault((m["summary"], m["columns"], m["rows"]), {})
        cell[m["backend"], m["place"]] = m["seconds"]
    for p in peers:
        cell = cells.get((p["summary"], p["columns"], p["rows"]))
        if cell is not None:
            cell["torch", p["device"], p["dtype"]] = p["seconds"]
    both = {key: cell for key, cell in cells.items() if any(way[0] == "torch" for way in cell)}
    head = ["summary", "columns", "rows", "cpu", "gpu", "gpu, resident", "torch cpu f64 / f32", "torch cuda f64 / f32"]
    lines = [head]
    for (summary, columns, rows), cell in sorted(both.items()):
        own = [("cpu", "host"), ("gpu", "host"), ("gpu", "device")]
        torch = [
            " / ".join(milliseconds(cell.get(("torch", device, dtype))) for dtype in ("float64", "float32"))
            for device in ("cpu", "cuda")
        ]
        times = [milliseconds(cell.get(way)) for way in own]
        lines.append([summary, str(columns), str(rows), *times, *torch])
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    print(f"milliseconds, precision {bench['precision']}: {bench['gpu']}; {bench['cpu']}")
    for line in lines:
        print("  ".join(text.ljust(w) if i == 0 else text.rjust(w) for i, (text, w) in enumerate(zip(line, widths))))
    with open(out_path, "w", encoding="utf-8") as file:
        json.dump({"schema": "millstream.gpu-bench/1", "millstream": bench, "torch": peers}, file, indent=1)


if __name__ == "__main__":
    main()
