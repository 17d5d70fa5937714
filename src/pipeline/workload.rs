//! What is known of a run before its input is read: what the choice of a backend goes by.

use super::{Plan, Query};
use crate::error::Result;
use crate::io::Source;
use crate::planner::Workload;
use crate::spec::ModelSpec;
use crate::summary::Shape;

/// What is known of an input before it is read, from its schema and its `bytes` on disk: a row takes about
/// `VALUE_BYTES` a column, in binary formats and as text. Compressed inputs hold more rows than that comes to.
///
/// # Errors
/// As [`analyze`](super::analyze), for what the schema and the query tell.
pub fn workload(source: &dyn Source, query: &Query, bytes: Option<u64>) -> Result<Workload> {
    let schema = source.schema();
    let plan = Plan::new(query, &schema, &source.about())?;
    let row_bytes = (schema.fields().len() as u64 * VALUE_BYTES).max(1);
    Ok(Workload {
        shape: plan.spec.shape(&plan.numeric, plan.reported)?,
        rows: bytes.map(|bytes| bytes / row_bytes),
        grouped: plan.spec.is_grouped(),
        fit: query
            .fit
            .as_ref()
            .map(|model| fit_shape(model, &plan.numeric))
            .transpose()?,
    })
}

fn fit_shape(model: &ModelSpec, numeric: &[String]) -> Result<Shape> {
    Ok(Shape {
        loss: Some(model.shape(numeric)?),
        ..Shape::default()
    })
}

/// Bytes of a value in an input, about: eight of a 64-bit number, and as many of `-12.345,`.
const VALUE_BYTES: u64 = 8;
