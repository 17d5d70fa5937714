"""oneDAL through daal4py, its thinnest wrapper in python; running results are its incremental algorithms."""

import importlib.metadata

import daal4py
import numpy

from prepared import Prepared, Stream

ROWS = "rows (C order)"


def version():
    return importlib.metadata.version("scikit-learn-intelex")


def options(data, **more):
    daal4py.daalinit(nthreads=data.threads)
    return {"fptype": "float" if data.is_f32 else "double", **more}


def moments_algorithm(data, **more):
    return daal4py.low_order_moments(**options(data, estimatesToCompute="estimatesMeanVariance", **more))


def moments_of(found):
    return {"mean": found.mean, "variance": found.variance}


def covariance_algorithm(data, **more):
    return daal4py.covariance(**options(data, outputMatrixType="covarianceMatrix", **more))


def covariance_of(found):
    return {"covariance": found.covariance}


def streamed(data, algorithm, answer):
    """An incremental algorithm over batches."""

    def step(state, batch):
        state.compute(batch)

    return Stream(
        ROWS, data.batches_by_row(), lambda: algorithm(data, streaming=True), step, lambda s: s.finalize(), answer
    )


def moments_rows(data):
    x = data.by_row()
    return Prepared(ROWS, lambda: moments_algorithm(data).compute(x), moments_of)


def covariance(data):
    x = data.by_row()
    return Prepared(ROWS, lambda: covariance_algorithm(data).compute(x), covariance_of)


def micro_moments(data):
    return streamed(data, moments_algorithm, moments_of)


def micro_covariance(data):
    return streamed(data, covariance_algorithm, covariance_of)


def regression_algorithm(data, **more):
    return daal4py.linear_regression_training(**options(data, interceptFlag=True, **more))


def coefficients_of(found):
    return {"coefficients": found.model.Beta}


def terms_and_target(rows):
    return numpy.ascontiguousarray(rows[:, :-1]), numpy.ascontiguousarray(rows[:, -1:])


def least_squares(data):
    x, y = terms_and_target(data.by_row())
    return Prepared(ROWS, lambda: regression_algorithm(data).compute(x, y), coefficients_of)


def least_squares_batches(data):
    batches = [terms_and_target(batch) for batch in data.batches_by_row()]

    def step(state, batch):
        state.compute(*batch)

    begin = lambda: regression_algorithm(data, streaming=True)
    return Stream(ROWS, batches, begin, step, lambda state: state.finalize(), coefficients_of)
