//! The matrix product of the crate gemm on all cores: what co-moments are measured by.

/// A number that the matrix product takes.
pub(crate) trait Factor: Copy + Default + 'static {
    const ONE: Self;
}

impl Factor for f32 {
    const ONE: Self = 1.0;
}

impl Factor for f64 {
    const ONE: Self = 1.0;
}

/// XᵀX of a column-major matrix of `rows` × `d`.
pub(crate) fn multiply<T: Factor>(x: &[T], out: &mut [T], rows: usize, d: usize) {
    assert!(x.len() == rows * d && out.len() == d * d);
    let (row, column) = (1, rows as isize);
    // SAFETY: the strides describe a rows × d matrix in column-major order that lies within `x`, its transpose, and a
    // d × d matrix that lies within `out`; the lengths are asserted above.
    #[expect(unsafe_code, reason = "the yardstick is a crate with a pointer interface")]
    unsafe {
        gemm::gemm(
            d,
            d,
            rows,
            out.as_mut_ptr(),
            d as isize,
            1,
            false,
            x.as_ptr(),
            row,
            column,
            x.as_ptr(),
            column,
            row,
            T::default(),
            T::ONE,
            false,
            false,
            false,
            gemm::Parallelism::Rayon(0),
        );
    }
}
