#!/usr/bin/env python3
"""torch.var_mean, torch.cov and a loss gradient on the rows that `millstream bench` makes, timed on CPU and CUDA.

    python3 peers/torch_bench.py [--rows LIST] [--columns LIST] [--max-values N] [--seconds S]

Prints one JSON object a line: summary, rows, columns, device, dtype, the median of the seconds with the least and the
greatest, GB/s (bytes of the dtype) and GFLOP/s, and the relative error against torch in f64 on the CPU. The rows lie on
the device before the clock starts; CUDA is synchronised before it is read. The numbers are those of
`src/machine/rows.rs`. Columns are contiguous, as Millstream has them.
"""
import argparse
import json
import statistics
import time

import torch

SHARED = (1 << 23) - 1


def wrapped(x):
    """A 64-bit constant as the int64 with the same bits."""
    return x - (1 << 64) if x >= 1 << 63 else x


def shifted(z, by):
    """A logical shift to the right of int64 values."""
    return (z >> by) & ((1 << (64 - by)) - 1)


def bell(rows, column):
    """Four fields of SplitMix64 of a counter, added up."""
    z = (torch.arange(rows, dtype=torch.int64) + (column << 40) + 1) * wrapped(0x9E3779B97F4A7C15)
    z = (z ^ shifted(z, 30)) * wrapped(0xBF58476D1CE4E5B9)
    z = (z ^ shifted(z, 27)) * wrapped(0x94D049BB133111EB)
    z = z ^ shifted(z, 31)
    fields = (z & 0xFFFF) + (shifted(z, 16) & 0xFFFF) + (shifted(z, 32) & 0xFFFF) + shifted(z, 48)
    return fields.to(torch.float64) / 65536 - 2


def table(rows, columns):
    """Columns by rows, in f64."""
    shared = 0.5 * bell(rows, SHARED)
    return torch.stack([bell(rows, c) + shared + (c % 7 + 3) for c in range(columns)])


def moments2(x, _weights):
    return torch.stack(torch.var_mean(x, dim=1, correction=0))


def covariance(x, _weights):
    return torch.atleast_2d(torch.cov(x, correction=0))


def loss(x, weights):
    """Half the squared error of the first column by the others and an intercept, and its gradient."""
    residual = weights[0] + weights[1:] @ x[1:] - x[0]
    gradient = x[1:] @ residual
    return torch.cat([0.5 * (residual @ residual).reshape(1), residual.sum().reshape(1), gradient])


SUMMARIES = {"moments2": moments2, "covariance": covariance, "loss": loss}


def operations(summary, columns):
    return {"covariance": columns * (columns + 1), "loss": 4 * columns}.get(summary)


def measure(run, device, seconds):
    """The answer, and the times of at least three runs."""

    def settled():
        if device == "cuda":
            torch.cuda.synchronize()

    answer = run()
    settled()
    times, begun = [], time.perf_counter()
    while len(times) < 3 or (time.perf_counter() - begun < seconds and len(times) < 200):
        start = time.perf_counter()
        answer = run()
        settled()
        times.append(time.perf_counter() - start)
    return answer, times


def whole(text):
    return int(float(text))


def numbers(text):
    return [whole(part) for part in text.split(",")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=numbers, default=[1000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--columns", type=numbers, default=[8, 64])
    parser.add_argument("--max-values", type=whole, default=1 << 24)
    parser.add_argument("--seconds", type=float, default=0.2)
    options = parser.parse_args()
    # Full f32 products, as Millstream's: not the shorter TF32.
    torch.backends.cuda.matmul.allow_tf32 = False
    devices = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
    for columns in options.columns:
        lengths = [rows for rows in options.rows if rows * columns <= options.max_values]
        if not lengths:
            continue
        longest = table(max(lengths), columns)
        weights = torch.tensor([k % 13 / 64 - 0.09375 for k in range(columns)], dtype=torch.float64)
        for rows in lengths:
            exact = longest[:, :rows].contiguous()
            for summary, run in SUMMARIES.items():
                right = run(exact, weights)
                for device in devices:
                    for dtype in (torch.float32, torch.float64):
                        x, w = exact.to(device, dtype), weights.to(device, dtype)
                        answer, times = measure(lambda: run(x, w), device, options.seconds)
                        error = (answer.cpu().to(torch.float64) - right).abs().max() / right.abs().max()
                        middle = statistics.median(times)
                        flop = operations(summary, columns)
                        name = torch.cuda.get_device_name() if device == "cuda" else f"{torch.get_num_threads()} threads"
                        print(
                            json.dumps(
                                {
                                    "summary": summary,
                                    "rows": rows,
                                    "columns": columns,
                                    "device": device,
                                    "device_name": name,
                                    "dtype": str(dtype).removeprefix("torch."),
                                    "torch": torch.__version__,
                                    "seconds": middle,
                                    "seconds_min": min(times),
                                    "seconds_max": max(times),
                                    "runs": len(times),
                                    "gb_per_s": x.numel() * x.element_size() / middle / 1e9,
                                    "gflop_per_s": flop and flop * rows / middle / 1e9,
                                    "error": float(error),
                                }
                            ),
                            flush=True,
                        )


if __name__ == "__main__":
    main()
