//! Expressions: what evaluates does so row by row, whatever the batch; numbers are never NaN; a definition is its name
//! and its expression.
#![no_main]

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampNanosecondArray,
};
use arrow::datatypes::Float64Type;
use libfuzzer_sys::fuzz_target;
use millstream::Error;
use millstream::expr::{Definition, Expr, Kind};
use millstream_fuzz::about_the_input;
use std::sync::{Arc, LazyLock};

static ROWS: LazyLock<RecordBatch> = LazyLock::new(|| {
    let columns: [(&str, ArrayRef); 6] = [
        (
            "x",
            Arc::new(Float64Array::from(vec![
                Some(2.5),
                Some(-0.0),
                None,
                Some(f64::INFINITY),
                Some(f64::NAN),
            ])),
        ),
        (
            "y",
            Arc::new(Float64Array::from(vec![
                Some(-1.0),
                Some(0.0),
                Some(3.0),
                None,
                Some(1e300),
            ])),
        ),
        (
            "i",
            Arc::new(Int64Array::from(vec![
                Some(i64::MIN),
                Some(0),
                None,
                Some(7),
                Some(i64::MAX),
            ])),
        ),
        (
            "text",
            Arc::new(StringArray::from(vec![
                Some("fog"),
                Some(""),
                None,
                Some("Grüße %_"),
                Some("2012-01-01"),
            ])),
        ),
        (
            "b",
            Arc::new(BooleanArray::from(vec![
                Some(true),
                Some(false),
                None,
                Some(true),
                None,
            ])),
        ),
        (
            "ts",
            Arc::new(TimestampNanosecondArray::from(vec![
                Some(i64::MIN),
                Some(0),
                None,
                Some(1_325_376_000_000_000_000),
                Some(i64::MAX),
            ])),
        ),
    ];
    RecordBatch::try_from_iter(columns).expect("columns of one length")
});

/// The values of an expression, or nothing where a kernel gives up, as it may for a pattern.
fn values(expr: &Expr, batch: &RecordBatch) -> Option<(Kind, ArrayRef)> {
    let bound = about_the_input(expr.bind(&batch.schema()))?;
    match bound.evaluate(batch) {
        Ok(array) => Some((bound.kind(), array)),
        Err(Error::Failed(_)) => None,
        Err(other) => panic!("{}: {other}", expr.text()),
    }
}

fn check(expr: &Expr) {
    let again = Expr::parse(expr.text()).expect("it was an expression before");
    assert_eq!(again.columns(), expr.columns());
    let rows = &*ROWS;
    let Some((kind, whole)) = values(expr, rows) else {
        return;
    };
    assert_eq!(whole.len(), rows.num_rows());
    for row in 0..rows.num_rows() {
        let (_, one) = values(expr, &rows.slice(row, 1)).expect("all rows could be evaluated");
        assert_eq!(
            one.to_data(),
            whole.slice(row, 1).to_data(),
            "row {row} of {}",
            expr.text()
        );
    }
    match kind {
        Kind::Number => {
            let numbers = whole.as_primitive::<Float64Type>();
            assert!(numbers.iter().flatten().all(|x| !x.is_nan()), "{}", expr.text());
        }
        Kind::Boolean => {
            let filter = expr.bind_filter(&rows.schema()).expect("it is boolean");
            let kept = filter.filter(rows).expect("it could be evaluated");
            let truth = whole.as_boolean();
            let same = |row: usize| kept.value(row) == (truth.is_valid(row) && truth.value(row));
            assert!(kept.null_count() == 0 && (0..kept.len()).all(same), "{}", expr.text());
        }
        _ => {}
    }
}

fuzz_target!(|text: &str| {
    if let Some(expr) = about_the_input(Expr::parse(text)) {
        check(&expr);
    }
    if let Some(definition) = about_the_input(Definition::parse(text)) {
        assert!(!definition.name.is_empty());
        check(&definition.expr);
        let written = format!("\"{}\" = {}", definition.name.replace('"', "\"\""), definition.expr);
        let again = Definition::parse(&written).expect("it was a definition before");
        assert_eq!(
            (again.name, again.expr.text()),
            (definition.name, definition.expr.text())
        );
    }
});
