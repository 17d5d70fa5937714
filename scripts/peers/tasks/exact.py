"""What right answers are, and how many digits of an answer are right.

Small sets are summed in exact integers, large ones in two passes of 80-bit numbers (pairwise sums, some 18 digits); of
large matrices and of rolling statistics a fixed choice of entries is compared.
"""

import fractions
import json
import math

import numpy

from data import FOLDER, read

# What a correctly rounded f64 has.
DIGITS_MAX = 15.95
# Entries of a matrix that are compared, and places of a rolling statistic.
PAIRS = 200
PLACES = 2000


def digits(error):
    """The decimal digits that a relative error leaves."""
    if not error >= 0 or math.isinf(error):
        return 0.0
    return DIGITS_MAX if error == 0 else max(0.0, min(DIGITS_MAX, -math.log10(error)))


def kept(name, compute):
    """The arrays that `compute()` gives by name, computed once."""
    path = FOLDER / f"{name}.reference.json"
    if not path.exists():
        found = {k: numpy.asarray(v, dtype=numpy.float64).tolist() for k, v in compute().items()}
        path.write_text(json.dumps(found))
    return {k: numpy.array(v) for k, v in json.loads(path.read_text()).items()}


def worst(got, want, scale):
    """The largest error in units of the scale; infinite where the shapes differ or something is not a number."""
    got = numpy.asarray(got, dtype=numpy.float64)
    if got.shape != numpy.shape(want):
        return math.inf
    if not got.size:
        return 0.0
    error = numpy.max(numpy.abs(got - want) / scale)
    return float(error) if error == error else math.inf


def two_pass(column):
    """(mean, variance) in 80-bit numbers."""
    wide = column.astype(numpy.longdouble)
    mean = wide.sum() / wide.size
    wide -= mean
    rest = wide.sum()
    return mean, ((wide * wide).sum() - rest * rest / wide.size) / (wide.size - 1)


def integers(column):
    """(mean, variance) in exact arithmetic: the values as multiples of one power of two."""
    mantissas, exponents = numpy.frexp(column.astype(numpy.float64))
    least = int(exponents.min())
    whole = (mantissas * 2.0**53).astype(numpy.int64)
    values = [int(m) << int(e) - least for m, e in zip(whole, exponents)]
    unit = fractions.Fraction(2) ** (least - 53)
    n, total, squares = len(values), sum(values), sum(v * v for v in values)
    return total * unit / n, (n * squares - total * total) * unit**2 / (n * (n - 1))


def moments(path, dtype, rows, d, exactly=False):
    """Means and variances of the columns."""

    def compute():
        pairs = [(integers if exactly else two_pass)(c) for c in read(path, dtype, rows, d)]
        return {"mean": [float(m) for m, _ in pairs], "variance": [float(v) for _, v in pairs]}

    return kept(path.name, compute)


def moments_digits(answer, reference):
    """Of the worst mean (in units of the larger of mean and sd) and the worst standard deviation."""
    mean, variance = reference["mean"], reference["variance"]
    scale = numpy.maximum(numpy.abs(mean), numpy.sqrt(variance))
    return min(digits(worst(answer["mean"], mean, scale)), std_digits(answer, reference))


def std_digits(answer, reference):
    """Of the worst standard deviation."""
    want = numpy.sqrt(reference["variance"])
    with numpy.errstate(invalid="ignore"):
        got = numpy.sqrt(numpy.asarray(answer["variance"], dtype=numpy.float64))
    return digits(worst(got, want, want))


def covariance(path, dtype, rows, d):
    """Entries of the covariance matrix: every variance, and as many others as PAIRS."""

    def compute():
        x = read(path, dtype, rows, d)
        random = numpy.random.Generator(numpy.random.PCG64(7))
        pairs = random.integers(0, d, (PAIRS, 2))
        centred = {}

        def column(j):
            if j not in centred:
                wide = x[j].astype(numpy.longdouble)
                centred[j] = wide - wide.sum() / rows
                # A few columns at once: 80-bit numbers take 16 bytes.
                if len(centred) > 16:
                    centred.pop(next(iter(centred)))
            return centred[j]

        variance = [float((column(j) ** 2).sum() / (rows - 1)) for j in range(d)]
        ordered = sorted(map(tuple, pairs.tolist()))
        values = [float((column(a) * column(b)).sum() / (rows - 1)) for a, b in ordered]
        return {"variance": variance, "pairs": ordered, "covariance": values}

    return kept(f"{path.name}-covariance", compute)


def covariance_digits(answer, reference):
    """Of the worst entry, in units of the two standard deviations."""
    variance = reference["variance"]
    d = len(variance)
    matrix = numpy.asarray(answer["covariance"], dtype=numpy.float64)
    if matrix.size != d * d:
        return 0.0
    matrix = matrix.reshape(d, d)
    a, b = reference["pairs"].astype(int).T
    scale = numpy.sqrt(variance[a] * variance[b])
    error = max(
        worst(matrix.diagonal(), variance, variance),
        worst(matrix[a, b], reference["covariance"], scale),
        worst(matrix[b, a], reference["covariance"], scale),
    )
    return digits(error)


def coefficients(path, dtype, rows, d):
    """Least squares of the last column on the others and an intercept: normal equations of centred 80-bit columns."""

    def compute():
        wide = read(path, dtype, rows, d + 1).astype(numpy.longdouble)
        means = wide.sum(axis=1) / rows
        wide -= means[:, None]
        products = numpy.array(
            [[(wide[i] * wide[j]).sum() if j <= i else 0 for j in range(d + 1)] for i in range(d + 1)]
        )
        products = products + numpy.tril(products, -1).T
        slopes = solve(products[:d, :d], products[:d, d])
        return {"coefficients": [float(means[d] - (slopes * means[:d]).sum()), *(float(s) for s in slopes)]}

    return kept(f"{path.name}-least-squares", compute)


def solve(a, b):
    """Gaussian elimination in the format of `a`, of a matrix that needs no pivots: a symmetric positive one."""
    a, b = a.copy(), b.copy()
    n = len(b)
    for k in range(n):
        for i in range(k + 1, n):
            factor = a[i, k] / a[k, k]
            a[i, k:] -= factor * a[k, k:]
            b[i] -= factor * b[k]
    for k in reversed(range(n)):
        b[k] = (b[k] - (a[k, k + 1 :] * b[k + 1 :]).sum()) / a[k, k]
    return b


def coefficients_digits(answer, reference):
    """Of the coefficients, in units of the largest."""
    want = reference["coefficients"]
    return digits(worst(answer["coefficients"], want, numpy.abs(want).max()))


def weights(d):
    """The weights at which a gradient is asked for: an intercept, then the terms."""
    return [0.25] + [0.01 * (j % 7 - 3) for j in range(d)]


def gradient(path, dtype, rows, d):
    """Σ (w·x − y) x for the intercept and the terms, and the scale that an error is measured in."""

    def compute():
        x = read(path, dtype, rows, d + 1)
        w = numpy.asarray(weights(d), dtype=numpy.longdouble)
        residual = w[0] - x[d].astype(numpy.longdouble)
        for j in range(d):
            residual += w[j + 1] * x[j]
        products = [residual.sum()] + [(residual * x[j]).sum() for j in range(d)]
        length = float(numpy.sqrt((residual**2).sum()))
        squares = [rows] + [float((x[j].astype(numpy.longdouble) ** 2).sum()) for j in range(d)]
        return {"gradient": [float(p) for p in products], "scale": length * numpy.sqrt(squares)}

    return kept(f"{path.name}-gradient", compute)


def gradient_digits(answer, reference):
    """Of the worst entry, in units of the lengths of its two vectors."""
    return digits(worst(answer["gradient"], reference["gradient"], reference["scale"]))


def grouped(key_path, value_path, groups):
    """Count, mean and variance by key, in two passes."""

    def compute():
        key = numpy.fromfile(key_path, dtype=numpy.int64)
        value = numpy.fromfile(value_path)
        count = numpy.bincount(key, minlength=groups)
        with numpy.errstate(invalid="ignore", divide="ignore"):
            mean = numpy.bincount(key, value, groups) / count
            deviation = value - mean[key]
            rest = numpy.bincount(key, deviation, groups)
            squares = numpy.bincount(key, deviation * deviation, groups)
            variance = (squares - rest * rest / count) / (count - 1)
        there = numpy.flatnonzero(count > 1)
        return {"key": there, "count": count[there], "mean": mean[there], "variance": variance[there]}

    return kept(f"{value_path.name}-grouped", compute)


def grouped_digits(answer, reference):
    """Of means and standard deviations over all groups of two rows and more; 0 where a group or a count is wrong."""
    order = numpy.argsort(answer["key"], kind="stable")
    order = order[answer["count"][order] > 1]
    found = {name: values[order] for name, values in answer.items()}
    for name in ("key", "count"):
        if not numpy.array_equal(found[name], reference[name]):
            return 0.0
    return moments_digits(found, reference)


def rolling(path, rows, statistic, window):
    """A rolling statistic at chosen places: right behind the burst of the first tenth, at the end, and anywhere."""

    def compute():
        a, b = read(path, "f64", rows, 2)
        random = numpy.random.Generator(numpy.random.PCG64(11))
        behind = rows // 20 + 100 + window + numpy.arange(50)
        places = numpy.concatenate([behind, [rows - 1], random.integers(window - 1, rows, PLACES)])
        places = numpy.unique(places[places < rows])
        values, scales = [], []
        for place in places:
            x = a[place - window + 1 : place + 1].astype(numpy.longdouble)
            y = b[place - window + 1 : place + 1].astype(numpy.longdouble)
            mean, variance = two_pass(x)
            other_mean, other_variance = two_pass(y)
            if statistic == "mean":
                values.append(mean)
                scales.append(max(abs(mean), variance**0.5))
            elif statistic == "variance":
                values.append(variance)
                scales.append(variance)
            else:
                values.append(((x - mean) * (y - other_mean)).sum() / (window - 1))
                scales.append((variance * other_variance) ** 0.5)
        return {"places": places, "values": [float(v) for v in values], "scale": [float(s) for s in scales]}

    return kept(f"{path.name}-rolling-{statistic}-{window}", compute)


def places_digits(answer, reference):
    """Of a result row by row, at the places of the reference."""
    values = answer["values"]
    places = reference["places"].astype(int)
    if values.size <= places.max():
        return 0.0
    return digits(worst(values[places], reference["values"], reference["scale"]))


def slopes(path, dtype, rows, statistic):
    """Differences of neighbours, or numpy's gradient of unit spacing, at chosen places."""

    def compute():
        x = read(path, dtype, rows, 1)[0].astype(numpy.longdouble)
        random = numpy.random.Generator(numpy.random.PCG64(13))
        places = numpy.unique(numpy.concatenate([[1, rows - 2], random.integers(1, rows - 1, PLACES)]))
        low = x[places - 1]
        high, share = (x[places], 1) if statistic == "difference" else (x[places + 1], 2)
        # Rounding of the two values, not of what is left of them, is what a difference in their format can keep.
        return {"places": places, "values": (high - low) / share, "scale": numpy.maximum(abs(high), abs(low)) + 1}

    return kept(f"{path.name}-{statistic}", compute)
