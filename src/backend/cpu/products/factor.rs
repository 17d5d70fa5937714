//! The numbers that products are made of: `f64`, or `f32` where the precision allows it.

use super::panels::Room;
use pulp::bytemuck::Pod;
use pulp::{Simd, bytemuck};
use std::cell::Cell;

/// Products that are added up one after another at most, in one place of a sum: what [`super::super::Cpu`] promises of
/// co-moments counts with that.
pub(super) const ADDITIONS_MAX: usize = 256;

/// A deviation from a pivot.
pub(super) trait Factor: Pod + Default + PartialEq {
    /// As many as the machine takes at once.
    type Vector<S: Simd>: Pod;

    /// x − pivot, where the pivot is such a number.
    fn of_f64(x: f64, pivot: f64) -> Self;
    /// x − pivot, where the pivot is such a number.
    fn of_f32(x: f32, pivot: f64) -> Self;
    /// As `f64`, exactly.
    fn widen(self) -> f64;
    /// One number in all places.
    fn splat<S: Simd>(simd: S, x: Self) -> Self::Vector<S>;
    /// a b + c.
    fn mul_add<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>, c: Self::Vector<S>) -> Self::Vector<S>;
    /// The place where a thread keeps its panels, so that the memory is used again.
    fn with_room<T>(f: impl FnOnce(&Cell<Room<Self>>) -> T) -> T;

    /// Numbers as vectors.
    #[inline(always)]
    fn vectors<S: Simd>(numbers: &[Self]) -> &[Self::Vector<S>] {
        bytemuck::cast_slice(numbers)
    }

    /// The numbers of a vector.
    #[inline(always)]
    fn numbers<S: Simd>(vector: &Self::Vector<S>) -> &[Self] {
        bytemuck::cast_slice(std::slice::from_ref(vector))
    }
}

impl Factor for f64 {
    type Vector<S: Simd> = S::f64s;

    #[inline(always)]
    fn of_f64(x: f64, pivot: f64) -> Self {
        x - pivot
    }
    #[inline(always)]
    fn of_f32(x: f32, pivot: f64) -> Self {
        Self::from(x) - pivot
    }
    #[inline(always)]
    fn widen(self) -> f64 {
        self
    }
    #[inline(always)]
    fn splat<S: Simd>(simd: S, x: Self) -> S::f64s {
        simd.splat_f64s(x)
    }
    #[inline(always)]
    fn mul_add<S: Simd>(simd: S, a: S::f64s, b: S::f64s, c: S::f64s) -> S::f64s {
        simd.mul_add_f64s(a, b, c)
    }
    fn with_room<T>(f: impl FnOnce(&Cell<Room<Self>>) -> T) -> T {
        thread_local!(static ROOM: Cell<Room<f64>> = Cell::default());
        ROOM.with(f)
    }
}

impl Factor for f32 {
    type Vector<S: Simd> = S::f32s;

    #[inline(always)]
    fn of_f64(x: f64, pivot: f64) -> Self {
        (x - pivot) as Self
    }
    #[inline(always)]
    fn of_f32(x: f32, pivot: f64) -> Self {
        x - pivot as Self
    }
    #[inline(always)]
    fn widen(self) -> f64 {
        f64::from(self)
    }
    #[inline(always)]
    fn splat<S: Simd>(simd: S, x: Self) -> S::f32s {
        simd.splat_f32s(x)
    }
    #[inline(always)]
    fn mul_add<S: Simd>(simd: S, a: S::f32s, b: S::f32s, c: S::f32s) -> S::f32s {
        simd.mul_add_f32s(a, b, c)
    }
    fn with_room<T>(f: impl FnOnce(&Cell<Room<Self>>) -> T) -> T {
        thread_local!(static ROOM: Cell<Room<f32>> = Cell::default());
        ROOM.with(f)
    }
}
