"""Intel's MKL through its C interface: the triangle of the products of centred rows."""

import ctypes
import glob
import importlib.metadata
import sys

import numpy

from prepared import Prepared

ROW_MAJOR, UPPER, TRANSPOSED = 101, 121, 112


def version():
    return importlib.metadata.version("mkl")


def covariance(data):
    found = glob.glob(f"{sys.prefix}/lib/libmkl_rt.so*")
    library = ctypes.CDLL(found[0])
    syrk, real = (library.cblas_ssyrk, ctypes.c_float) if data.is_f32 else (library.cblas_dsyrk, ctypes.c_double)
    x = data.by_row()
    n, d = x.shape

    def run():
        centred = x - x.mean(axis=0, dtype=numpy.float64).astype(x.dtype)
        out = numpy.zeros((d, d), dtype=x.dtype)
        share = real(1 / (n - 1))
        at = lambda array: array.ctypes.data_as(ctypes.c_void_p)
        syrk(ROW_MAJOR, UPPER, TRANSPOSED, d, n, share, at(centred), d, real(0), at(out), d)
        return out

    return Prepared("rows (C order)", run, lambda u: {"covariance": numpy.triu(u) + numpy.triu(u, 1).T})
