"""The reports that `millstream analyze` must give for examples/data, computed in exact rational arithmetic.

Reads the data with the csv and json modules, takes every number as the f64 that it is, computes with fractions.Fraction, and
rounds each result once to the nearest f64 (roots by math.isqrt on a scaled integer). Python's standard library only.

    python3 tests/data/expected.py > tests/data/expected.json        (made with Python 3.11.7)
"""

import csv
import json
import math
import os
from datetime import datetime, timedelta
from fractions import Fraction

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "examples", "data")
EPOCH = datetime(1970, 1, 1)
DAY = 86400


def weather():
    with open(os.path.join(DATA, "seattle-weather.csv"), newline="") as file:
        rows = list(csv.DictReader(file))
    numeric = ["precipitation", "temp_max", "temp_min", "wind"]
    for row in rows:
        for name in numeric:
            row[name] = Fraction(float(row[name]))
        row["date"] = int((datetime.fromisoformat(row["date"]) - EPOCH).total_seconds())
    return rows, numeric


def penguins():
    with open(os.path.join(DATA, "penguins.json")) as file:
        rows = json.load(file)
    numeric = ["Beak Length (mm)", "Beak Depth (mm)", "Flipper Length (mm)", "Body Mass (g)"]
    for row in rows:
        for name in numeric:
            row[name] = None if row[name] is None else Fraction(float(row[name]))
    return rows, numeric


def root(x, bits=120):
    """The square root of a fraction, to 120 bits: rounding it to f64 is then right but for ties that do not occur."""
    if x == 0:
        return Fraction(0)
    shift = max(0, 2 * bits - x.numerator.bit_length() + x.denominator.bit_length())
    shift += shift % 2
    return Fraction(math.isqrt((x.numerator << shift) // x.denominator), 1 << (shift // 2))


def number(x):
    return None if x is None else float(x)


def moments(values, ddof):
    present = [v for v in values if v is not None]
    n = len(present)
    result = {"count": n, "missing": len(values) - n, "sum": number(sum(present, Fraction(0)))}
    if n == 0:
        return result | dict.fromkeys(["mean", "variance", "std", "skewness", "kurtosis", "min", "max"])
    mean = sum(present) / n
    m2, m3, m4 = (sum((v - mean) ** k for v in present) / n for k in (2, 3, 4))
    variance = m2 * n / (n - ddof) if n > ddof else None
    return result | {
        "mean": number(mean),
        "variance": number(variance),
        "std": None if variance is None else number(root(variance)),
        "skewness": number(m3 / (m2 * root(m2))) if m2 else None,
        "kurtosis": number(m4 / m2**2 - 3) if m2 else None,
        "min": number(min(present)),
        "max": number(max(present)),
    }


def quantile(values, p):
    """Hyndman and Fan 1996, type 7."""
    ordered = sorted(v for v in values if v is not None)
    if not ordered:
        return None
    h = Fraction(p) * (len(ordered) - 1)
    low = math.floor(h)
    high = min(low + 1, len(ordered) - 1)
    return number(ordered[low] + (h - low) * (ordered[high] - ordered[low]))


def complete(rows, columns):
    return [[row[c] for c in columns] for row in rows if all(row[c] is not None for c in columns)]


def centred(rows):
    n, d = len(rows), len(rows[0])
    means = [sum(r[i] for r in rows) / n for i in range(d)]
    product = lambda i, j: sum((r[i] - means[i]) * (r[j] - means[j]) for r in rows)
    return means, [[product(i, j) for j in range(d)] for i in range(d)]


def covariance(rows, columns, ddof):
    used = complete(rows, columns)
    _, products = centred(used)
    return {"columns": columns, "rows": len(used), "matrix": [[number(x / (len(used) - ddof)) for x in r] for r in products]}


def correlation(rows, columns):
    used = complete(rows, columns)
    _, s = centred(used)
    entry = lambda i, j: 1.0 if i == j else number(s[i][j] / root(s[i][i] * s[j][j]))
    d = range(len(columns))
    return {"columns": columns, "rows": len(used), "matrix": [[entry(i, j) for j in d] for i in d]}


def differences(rows, column, time, ddof):
    steps, unordered = [], 0
    for before, after in zip(rows, rows[1:]):
        if before[column] is None or after[column] is None:
            continue
        step = after[column] - before[column]
        if time and after[time] <= before[time]:
            unordered += 1
            continue
        steps.append(step / (after[time] - before[time]) if time else step)
    m = moments(steps, ddof)
    return {"count": m["count"], "unordered": unordered} | {k: m[k] for k in ["mean", "variance", "std", "min", "max"]}


def solve(a, b):
    """Gauss-Jordan over fractions; b has several columns."""
    n = len(a)
    rows = [list(x) + list(y) for x, y in zip(a, b)]
    for i in range(n):
        pivot = next(k for k in range(i, n) if rows[k][i] != 0)
        rows[i], rows[pivot] = rows[pivot], rows[i]
        rows[i] = [x / rows[i][i] for x in rows[i]]
        for k in range(n):
            if k != i:
                rows[k] = [x - rows[k][i] * y for x, y in zip(rows[k], rows[i])]
    return [r[n:] for r in rows]


def regression(rows, target, terms, ridge):
    """(X'X + D) b = X'y with D = ridge on the terms and 0 on the intercept; covariance s2 (X'X + D)^-1 X'X (X'X + D)^-1."""
    used = complete(rows, terms + [target])
    x = [[Fraction(1)] + r[:-1] for r in used]
    y = [r[-1] for r in used]
    p = range(len(terms) + 1)
    gram = [[sum(r[i] * r[j] for r in x) for j in p] for i in p]
    penalised = [[gram[i][j] + (Fraction(ridge) if i == j and i > 0 else 0) for j in p] for i in p]
    inverse = solve(penalised, [[Fraction(int(i == j)) for j in p] for i in p])
    right = [sum(r[i] * v for r, v in zip(x, y)) for i in p]
    beta = [sum(inverse[i][j] * right[j] for j in p) for i in p]
    rss = sum((v - sum(b * a for a, b in zip(r, beta))) ** 2 for r, v in zip(x, y))
    mean = sum(y) / len(y)
    times = lambda a, b: [[sum(a[i][k] * b[k][j] for k in p) for j in p] for i in p]
    spread = times(times(inverse, gram), inverse)
    s2 = rss / (len(y) - len(terms) - 1)
    return {
        "target": target,
        "terms": ["intercept"] + terms,
        "coefficients": [number(b) for b in beta],
        "standard_errors": [number(root(s2 * spread[i][i])) for i in p],
        "r_squared": number(1 - rss / sum((v - mean) ** 2 for v in y)),
        "residual_std": number(root(s2)),
        "rank": len(terms) + 1,
        "rows": len(used),
    }


def stamp(seconds):
    return (EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def windows(rows, size, slide):
    """(bounds, rows) of each window that has a row: starts are multiples of the slide, since 1970 or since row 0."""
    if size is None:
        return [(None, rows)]
    if size[1] == "rows":
        span, step, place = size[0], slide or size[0], [(i, r) for i, r in enumerate(rows)]
    else:
        span, step = size[0] * DAY, (slide or size[0]) * DAY
        place = [(r["date"], r) for r in rows]
    earliest = 0 if size[1] == "rows" else (min(p for p, _ in place) - span) // step * step
    starts = range(earliest, max(p for p, _ in place) + 1, step)
    cut = [(s, [r for p, r in place if s <= p < s + span]) for s in starts]
    bounds = lambda s: {"start": s, "end": s + span} if size[1] == "rows" else {"start": stamp(s), "end": stamp(s + span)}
    return [(bounds(s), r) for s, r in cut if r]


def groups(rows, columns, by=(), size=None, slide=None, ddof=1, stats=(), quantiles=(), time=None, regress=None, ridge=0):
    found = []
    keys = sorted({tuple(r[k] for k in by) for r in rows}, key=lambda k: [(x is not None, x or "") for x in k])
    for key in keys:
        own = [r for r in rows if tuple(r[k] for k in by) == key]
        for window, some in windows(own, size, slide):
            found.append((window["start"] if window else 0, key, window, some))
    found.sort(key=lambda g: g[0])  # stable: by window, then key
    result = []
    for _, key, window, some in found:
        group = {"key": dict(zip(by, key)) if by else None, "window": window, "rows": len(some), "columns": {}}
        for name in columns:
            values = [r[name] for r in some]
            group["columns"][name] = moments(values, ddof)
            if quantiles:
                group["columns"][name]["quantiles"] = {str(p): quantile(values, p) for p in quantiles}
        if "covariance" in stats:
            group["covariance"] = covariance(some, columns, ddof)
        if "correlation" in stats:
            group["correlation"] = correlation(some, columns)
        if "differences" in stats:
            group["differences"] = {name: differences(some, name, time, ddof) for name in columns}
        if regress:
            group["regression"] = regression(some, *regress, ridge)
        result.append(group)
    return result


def cases():
    rows, columns = weather()
    birds, measures = penguins()
    file, bird_file = "seattle-weather.csv", "penguins.json"

    def case(name, args, found, total, filtered=0):
        return {"name": name, "args": args, "rows": total, "filtered_rows": filtered, "groups": found}

    yield case("weather", [file], groups(rows, columns), len(rows))
    yield case("ddof 0", [file, "--ddof", "0", "--stats", "covariance,differences"],
               groups(rows, columns, ddof=0, stats=["covariance", "differences"]), len(rows))
    yield case("penguins", [bird_file, "--stats", "moments,covariance,correlation"],
               groups(birds, measures, stats=["covariance", "correlation"]), len(birds))
    yield case("penguins by species and sex", [bird_file, "--by", "Species,Sex"],
               groups(birds, measures, by=["Species", "Sex"]), len(birds))
    yield case("columns in the asked order", [file, "--columns", "wind,temp_min"], groups(rows, ["wind", "temp_min"]), len(rows))
    yield case("tumbling windows of time", [file, "--time", "date", "--window", "180d", "--quantiles", "0,0.1,0.5,0.9,1"],
               groups(rows, columns, size=(180, "d"), quantiles=[0, 0.1, 0.5, 0.9, 1]), len(rows))
    yield case("sliding windows of time, by weather",
               [file, "--time", "date", "--window", "52w", "--slide", "26w", "--by", "weather", "--columns", "temp_max"],
               groups(rows, ["temp_max"], by=["weather"], size=(364, "d"), slide=182), len(rows))
    yield case("windows of rows", [file, "--window", "400 rows", "--stats", "correlation"],
               groups(rows, columns, size=(400, "rows"), stats=["correlation"]), len(rows))
    yield case("sliding windows of rows", [file, "--window", "600 rows", "--slide", "300 rows", "--columns", "wind"],
               groups(rows, ["wind"], size=(600, "rows"), slide=300), len(rows))
    kept = [r for r in rows if r["temp_max"] > 0 and r["weather"] != "fog"]
    yield case("filter", [file, "--where", "temp_max > 0 and weather <> 'fog'"], groups(kept, columns), len(kept), len(rows) - len(kept))
    for row in rows:
        # An f64 subtraction rounds once, as the command's does.
        row["range"] = Fraction(float(row["temp_max"] - row["temp_min"]))
    wide = [r for r in rows if r["range"] > 8]
    yield case("definition", [file, "--define", "range = temp_max - temp_min", "--where", "range > 8", "--columns", "range,wind"],
               groups(wide, ["range", "wind"]), len(wide), len(rows) - len(wide))
    yield case("differences per second", [file, "--time", "date", "--stats", "differences", "--columns", "temp_max,wind"],
               groups(rows, ["temp_max", "wind"], stats=["differences"], time="date"), len(rows))
    yield case("differences per row, with gaps", [bird_file, "--stats", "differences", "--by", "Species"],
               groups(birds, measures, by=["Species"], stats=["differences"]), len(birds))
    model = ("temp_max", ["temp_min", "wind"])
    yield case("regression", [file, "--regress", "temp_max ~ temp_min + wind", "--columns", "wind"],
               groups(rows, ["wind"], regress=model), len(rows))
    yield case("ridge", [file, "--regress", "temp_max ~ temp_min + wind", "--ridge", "250", "--columns", "wind"],
               groups(rows, ["wind"], regress=model, ridge=250), len(rows))
    yield case("regression over complete rows, by species",
               [bird_file, "--by", "Species", "--columns", '"Body Mass (g)"', "--regress", '"Body Mass (g)" ~ "Flipper Length (mm)"'],
               groups(birds, ["Body Mass (g)"], by=["Species"], regress=("Body Mass (g)", ["Flipper Length (mm)"])), len(birds))


print(json.dumps(list(cases()), indent=1))
