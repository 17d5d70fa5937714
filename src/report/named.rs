//! Values by name, in a fixed order.

use super::Json;
use serde::ser::{Serialize, Serializer};
use std::sync::Arc;

/// Values by name, in a fixed order. The names may be shared with other groups.
#[derive(Debug, Clone, PartialEq)]
pub struct Named<T> {
    names: Arc<[String]>,
    values: Vec<T>,
}

impl<T> Named<T> {
    /// One value a name.
    ///
    /// # Panics
    /// If there are more or fewer.
    pub fn new(names: Arc<[String]>, values: Vec<T>) -> Self {
        assert_eq!(names.len(), values.len(), "there is one value a name");
        Self { names, values }
    }

    /// The value of this name.
    pub fn get(&self, name: &str) -> Option<&T> {
        self.iter().find(|(n, _)| *n == name).map(|(_, v)| v)
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &T)> + DoubleEndedIterator {
        self.names.iter().map(String::as_str).zip(&self.values)
    }

    /// The names in order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The values in order.
    pub fn values(&self) -> &[T] {
        &self.values
    }

    /// The values in order, to be changed.
    pub fn values_mut(&mut self) -> &mut [T] {
        &mut self.values
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

impl<T> FromIterator<(String, T)> for Named<T> {
    fn from_iter<I: IntoIterator<Item = (String, T)>>(entries: I) -> Self {
        let (names, values): (Vec<String>, _) = entries.into_iter().unzip();
        Self {
            names: names.into(),
            values,
        }
    }
}

impl<T> std::ops::Index<&str> for Named<T> {
    type Output = T;

    /// # Panics
    /// If there is no such name; [`Named::get`] asks without panicking.
    fn index(&self, name: &str) -> &T {
        self.get(name).unwrap_or_else(|| panic!("no entry named `{name}`"))
    }
}

impl<T: Serialize> Serialize for Named<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

pub(super) fn numbers<S: Serializer>(xs: &Option<Named<Option<f64>>>, serializer: S) -> Result<S::Ok, S::Error> {
    match xs {
        None => serializer.serialize_none(),
        Some(xs) => serializer.collect_map(xs.iter().map(|(name, x)| (name, Json(*x)))),
    }
}
