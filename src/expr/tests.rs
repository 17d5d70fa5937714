//! Expressions over a small table, with the values that SQL gives.

mod odd;
mod properties;

use super::*;
use arrow::array::*;
use arrow::datatypes::{DataType, Field, Float64Type, Int32Type};
use std::sync::Arc;

/// Four rows: an ordinary one, zeros, nulls (NaN in `f32`), negatives.
fn table() -> RecordBatch {
    let text: StringArray = [Some("fog"), Some(""), None, Some("Grüße")].into_iter().collect();
    let dictionary: DictionaryArray<Int32Type> = [Some("fog"), Some("sun"), None, Some("fog")].into_iter().collect();
    let view: StringViewArray = [Some("a"), Some("b%"), None, Some("a text of more than twelve bytes")]
        .into_iter()
        .collect();
    let decimal = Decimal128Array::from(vec![Some(12345), Some(0), None, Some(-50)])
        .with_precision_and_scale(10, 2)
        .unwrap();
    // 2012-06-01T00:00:00Z, 1970, null, a second before 1970; in seconds, and the first one beyond 2262.
    let seconds =
        TimestampSecondArray::from(vec![Some(253_402_300_799), Some(0), None, Some(-1)]).with_timezone("+02:00");
    let columns: Vec<(&str, ArrayRef)> = vec![
        (
            "x",
            Arc::new(Float64Array::from(vec![Some(2.5), Some(0.0), None, Some(-4.0)])),
        ),
        ("f32", Arc::new(Float32Array::from(vec![0.5, -0.0, f32::NAN, 8.0]))),
        ("i", Arc::new(Int64Array::from(vec![Some(7), Some(0), None, Some(-7)]))),
        (
            "u",
            Arc::new(UInt8Array::from(vec![Some(200), Some(0), None, Some(100)])),
        ),
        ("d", Arc::new(decimal)),
        ("text", Arc::new(text)),
        ("dict", Arc::new(dictionary)),
        ("view", Arc::new(view)),
        (
            "b",
            Arc::new(BooleanArray::from(vec![Some(true), Some(false), None, Some(true)])),
        ),
        (
            "day",
            Arc::new(Date32Array::from(vec![Some(15_492), Some(0), None, Some(-1)])),
        ),
        ("ts", Arc::new(seconds)),
        ("air temp", Arc::new(Float64Array::from(vec![1.0, 2.0, 3.0, 4.0]))),
        ("x.mean", Arc::new(Float64Array::from(vec![10.0, 20.0, 30.0, 40.0]))),
        ("corr(a, b)", Arc::new(Float64Array::from(vec![0.5; 4]))),
        ("list", Arc::new(BinaryArray::from(vec![&b"z"[..]; 4]))),
    ];
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, a)| Field::new(*name, a.data_type().clone(), true))
        .collect();
    RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        columns.into_iter().map(|(_, a)| a).collect(),
    )
    .unwrap()
}

fn evaluate(text: &str) -> ArrayRef {
    let batch = table();
    let bound = Expr::parse(text)
        .and_then(|expr| expr.bind(&batch.schema()))
        .unwrap_or_else(|e| panic!("{text}: {e}"));
    let array = bound.evaluate(&batch).unwrap_or_else(|e| panic!("{text}: {e}"));
    assert_eq!(array.len(), 4, "{text}");
    // What holds for a batch holds for its empty slice.
    assert_eq!(bound.evaluate(&batch.slice(0, 0)).unwrap().len(), 0, "{text}");
    array
}

#[track_caller]
fn numbers(text: &str, expected: [Option<f64>; 4]) {
    assert_eq!(
        evaluate(text).as_primitive::<Float64Type>().iter().collect::<Vec<_>>(),
        expected,
        "{text}"
    );
}

#[track_caller]
fn truths(text: &str, expected: &str) {
    let shown: String = evaluate(text)
        .as_boolean()
        .iter()
        .map(|t| t.map_or('?', |t| if t { 'T' } else { 'F' }))
        .collect();
    assert_eq!(shown, expected, "{text}");
}

#[track_caller]
fn refuses(text: &str, parts: &[&str]) {
    let error = Expr::parse(text)
        .and_then(|expr| expr.bind(&table().schema()))
        .expect_err(text);
    assert!(matches!(error, Error::Usage(_)), "{text}: {error}");
    for part in parts {
        assert!(error.to_string().contains(part), "{text}: {error} lacks {part}");
    }
}

#[test]
fn arithmetic_is_in_f64() {
    numbers("x + i * 2", [Some(16.5), Some(0.0), None, Some(-18.0)]);
    numbers("i / 2", [Some(3.5), Some(0.0), None, Some(-3.5)]);
    numbers("u + 100", [Some(300.0), Some(100.0), None, Some(200.0)]);
    numbers("i % 4", [Some(3.0), Some(0.0), None, Some(-3.0)]);
    numbers("d", [Some(123.45), Some(0.0), None, Some(-0.5)]);
    numbers("-x - -1", [Some(-1.5), Some(1.0), None, Some(5.0)]);
    numbers("+f32", [Some(0.5), Some(0.0), None, Some(8.0)]);
    numbers("1 - 2 - 3", [Some(-4.0); 4]);
    numbers("2 + 3 * 4 % 5", [Some(4.0); 4]);
    numbers("(2 + 3) * -4", [Some(-20.0); 4]);
    numbers("8 / 4 / 2", [Some(1.0); 4]);
    numbers("\"air temp\" + 1e-1 + .5", [Some(1.6), Some(2.6), Some(3.6), Some(4.6)]);
    numbers("x.mean + corr(a, b)", [Some(10.5), Some(20.5), Some(30.5), Some(40.5)]);
}

#[test]
fn division_by_zero_is_ieee_and_nan_is_missing() {
    numbers("1 / x", [Some(0.4), Some(f64::INFINITY), None, Some(-0.25)]);
    numbers("x / x", [Some(1.0), None, None, Some(1.0)]);
    numbers("i % 0", [None; 4]);
    truths("x / x IS NULL", "FTTF");
    truths("f32 IS NULL", "FFTF");
    numbers("coalesce(0 / x, 9)", [Some(0.0), Some(9.0), Some(9.0), Some(0.0)]);
    // NaN ** 0 and 1 ** NaN would be 1.
    numbers("pow(f32, 0)", [Some(1.0), Some(1.0), None, Some(1.0)]);
    numbers("pow(1, f32)", [Some(1.0), Some(1.0), None, Some(1.0)]);
}

#[test]
fn comparisons() {
    truths("x > 0", "TF?F");
    truths("x >= 0", "TT?F");
    truths("0 > x", "FF?T");
    truths("x < i", "TF?F");
    truths("x <= i", "TT?F");
    truths("x <> 0", "TF?T");
    truths("x != 0", "TF?T");
    truths("f32 = 0", "FT?F");
    truths("-x = x", "FT?F");
    truths("text = 'fog'", "TF?F");
    truths("text < 'h'", "TT?T");
    truths("dict <> 'fog'", "FT?F");
    truths("dict = text", "TF?F");
    truths("view = 'a text of more than twelve bytes'", "FF?T");
    truths("b", "TF?T");
    truths("b = true", "TF?T");
    truths("b = (x > 0)", "TT?F");
    truths("x > NULL", "????");
    truths("x between -5 and 0", "FT?T");
    truths("x not between -5 and 0", "TF?F");
    truths("x between NULL and -1", "FF??");
}

#[test]
fn times() {
    truths("day >= '2012-06-01'", "TF?F");
    truths("'2012-05-31T23:59:59' < day", "TF?F");
    truths("day = date '1970-01-01'", "FT?F");
    truths("ts > '2262-01-01'", "TF?F");
    truths("ts = timestamp '1970-01-01 02:00:00+02:00'", "FT?F");
    truths("ts < '1970-01-01'", "FF?T");
    truths("ts between '1969-12-31' and '1970-01-02'", "FT?T");
    truths("day in ('2012-06-01', '1969-12-31')", "TF?T");
    truths("day > ts", "FF?F");
    truths("coalesce(day, '2000-01-01') >= '2000-01-01'", "TFTF");
    refuses("day > 'yesterday'", &["`yesterday`", "2012-06-01"]);
    refuses("day > 5", &["column `day` is a time", "5 is a number"]);
    refuses("day > text", &["column `day` is a time", "column `text` is text"]);
    refuses("day in ('2012-06-01', 'x')", &["`x`"]);
}

#[test]
fn three_valued_logic() {
    // The tables of SQL: T, F and null against each other.
    let values = [("true", 'T'), ("false", 'F'), ("null", '?')];
    let and = ["TF?", "FFF", "?F?"];
    let or = ["TTT", "TF?", "T??"];
    for (i, (left, _)) in values.iter().enumerate() {
        for (j, (right, _)) in values.iter().enumerate() {
            let of = |table: [&str; 3]| table[i].chars().nth(j).unwrap().to_string().repeat(4);
            truths(&format!("{left} and {right}"), &of(and));
            truths(&format!("{left} or {right}"), &of(or));
        }
    }
    truths("not b", "FT?F");
    truths("b and null", "?F??");
    truths("null or b", "T??T");
    truths("b is true", "TFFT");
    truths("b is not true", "FTTF");
    truths("b is false", "FTFF");
    truths("b is not false", "TFTT");
    truths("b is null", "FFTF");
    truths("b is not unknown", "TTFT");
    truths("NULL is null", "TTTT");
    truths("not x > 0 and x < 1 or b", "TT?T");
    truths("x > 0 or b and i < 0", "TF?T");
}

#[test]
fn in_lists() {
    truths("x in (2.5, -4)", "TF?T");
    truths("x not in (2.5, -4)", "FT?F");
    truths("f32 in (0)", "FT?F");
    truths("f32 in (-0.0)", "FT?F");
    truths("x in (2.5, NULL)", "T???");
    truths("x not in (2.5, NULL)", "F???");
    truths("x in (NULL)", "????");
    truths("x in (i / 2 - 1, 0)", "TT?F");
    truths("x not in (i / 2 - 1, 0)", "FF?T");
    truths("dict in ('sun', 'rain')", "FT?F");
    truths("b in (true)", "TF?T");
    truths("1 in (1, 2)", "TTTT");
    truths("null in (1, 2)", "????");
    let many: Vec<String> = (0..10_000).map(|i| i.to_string()).collect();
    truths(&format!("i in ({})", many.join(",")), "TT?F");
    refuses("x in ('a')", &["column `x` is a number", "`'a'` is text"]);
}

#[test]
fn patterns_and_text() {
    truths("text like 'f%'", "TF?F");
    truths("text not like 'f_g'", "FT?T");
    truths("text ilike 'GR__E'", "FF?T");
    truths("text not ilike 'FOG'", "FT?T");
    truths("view like '%\\%'", "FT?F");
    truths("'fog' like text", "TF?F");
    truths("starts_with(text, 'Gr')", "FF?T");
    truths("starts_with('fog', text)", "TT?F");
    truths("lower('ÄB') = 'äb' and upper(text) = 'FOG'", "TF?F");
    numbers("length(text)", [Some(3.0), Some(0.0), None, Some(5.0)]);
    truths("trim('  fog ') = text", "TF?F");
    truths("text || '!' = 'fog!'", "TF?F");
    truths("length('it''s') = 4", "TTTT");
}

#[test]
fn conditional_values() {
    numbers(
        "case when x > 0 then 1 when x < 0 then -1 end",
        [Some(1.0), None, None, Some(-1.0)],
    );
    numbers(
        "case when x > 0 then i else x end",
        [Some(7.0), Some(0.0), None, Some(-4.0)],
    );
    numbers("case when null then 1 else null end", [None; 4]);
    numbers(
        "case dict when 'fog' then 1 when 'sun' then 2 else 0 end",
        [Some(1.0), Some(2.0), Some(0.0), Some(1.0)],
    );
    numbers(
        "case when true then x else 0 end",
        [Some(2.5), Some(0.0), None, Some(-4.0)],
    );
    truths("case when b then 'yes' else text end = 'yes'", "TF?T");
    numbers("coalesce(x, i, 5)", [Some(2.5), Some(0.0), Some(5.0), Some(-4.0)]);
    numbers("nullif(x, 0)", [Some(2.5), None, None, Some(-4.0)]);
    numbers("nullif(1, i + 1)", [Some(1.0), None, Some(1.0), Some(1.0)]);
    truths("coalesce(text, dict, 'none') = 'none'", "FFTF");
    refuses(
        "case when x then 1 end",
        &["column `x` is a number", "`CASE` wants a boolean"],
    );
    refuses("case when b then 1 else 'a' end", &["1 is a number", "`'a'` is text"]);
}

#[test]
fn functions_of_numbers() {
    numbers("abs(x)", [Some(2.5), Some(0.0), None, Some(4.0)]);
    numbers("sqrt(x + 4)", [Some(6.5f64.sqrt()), Some(2.0), None, Some(0.0)]);
    numbers("sqrt(x)", [Some(2.5f64.sqrt()), Some(0.0), None, None]);
    numbers("round(x)", [Some(3.0), Some(0.0), None, Some(-4.0)]);
    numbers("ROUND(d, 1)", [Some(123.5), Some(0.0), None, Some(-0.5)]);
    numbers("floor(x)", [Some(2.0), Some(0.0), None, Some(-4.0)]);
    numbers("ceil(x) + ceiling(x)", [Some(6.0), Some(0.0), None, Some(-8.0)]);
    numbers("trunc(-x)", [Some(-2.0), Some(0.0), None, Some(4.0)]);
    numbers("sign(x)", [Some(1.0), Some(0.0), None, Some(-1.0)]);
    numbers("mod(i, 4)", [Some(3.0), Some(0.0), None, Some(-3.0)]);
    numbers("least(x, i, 1)", [Some(1.0), Some(0.0), Some(1.0), Some(-7.0)]);
    numbers("greatest(x, i)", [Some(7.0), Some(0.0), None, Some(-4.0)]);
    numbers("power(x, 2)", [Some(6.25), Some(0.0), None, Some(16.0)]);
    numbers(
        "ln(exp(1)) + log10(100) + log2(8) + log(1000) + log(2, 4)",
        [Some(11.0); 4],
    );
    numbers("cbrt(27) + sin(0) + cos(0) + tan(0) + atan2(0, 1)", [Some(4.0); 4]);
    numbers(
        "ln(x * 0)",
        [
            Some(f64::NEG_INFINITY),
            Some(f64::NEG_INFINITY),
            None,
            Some(f64::NEG_INFINITY),
        ],
    );
    numbers(
        "cast(b as double) + b::double precision",
        [Some(2.0), Some(0.0), None, Some(2.0)],
    );
    numbers("cast(text as double)", [None; 4]);
    numbers("cast(' 12.5 ' as double) + cast('NaN' as float)", [None; 4]);
    numbers("cast(' 12.5 ' as double)", [Some(12.5); 4]);
    refuses("round(x, 1, 2)", &["round takes 1 argument or 2 arguments, not 3"]);
    refuses("atan2(x)", &["2 arguments, not 1"]);
    refuses("abs(text)", &["column `text` is text, but `abs` wants a number"]);
    refuses("lower(x)", &["`lower` wants text"]);
    refuses("cast(day as double)", &["column `day`"]);
}

#[test]
fn filters_keep_what_is_true() {
    let batch = table();
    let keep = |text: &str| {
        let kept = Expr::parse(text)
            .unwrap()
            .bind_filter(&batch.schema())
            .unwrap()
            .filter(&batch)
            .unwrap();
        assert!(kept.nulls().is_none());
        kept.values().iter().collect::<Vec<_>>()
    };
    assert_eq!(keep("x > 0"), [true, false, false, false]);
    assert_eq!(keep("not x > 0"), [false, true, false, true]);
    assert_eq!(keep("null"), [false; 4]);
    assert_eq!(keep("1 < 2"), [true; 4]);
}

#[test]
fn the_kind_of_the_whole() {
    let schema = table().schema();
    let error = Expr::parse("x + 1").unwrap().bind_filter(&schema).unwrap_err();
    assert!(error.to_string().contains("`x + 1` is a number: a filter"), "{error}");
    let error = Expr::parse("x > 1").unwrap().bind_number(&schema).unwrap_err();
    assert!(
        error.to_string().contains("a derived column must be a number"),
        "{error}"
    );
    let bound = Expr::parse("x").unwrap().bind(&schema).unwrap();
    assert!(matches!(bound.filter(&table()), Err(Error::Usage(_))));
    let text = Expr::parse("dict").unwrap().bind(&schema).unwrap();
    assert_eq!(
        (text.kind(), text.evaluate(&table()).unwrap().data_type()),
        (Kind::Text, &DataType::LargeUtf8)
    );
}

#[test]
fn a_batch_of_another_shape_is_an_error() {
    let bound = Expr::parse("x > 0").unwrap().bind(&table().schema()).unwrap();
    let wrong_type = RecordBatch::try_from_iter([("x", Arc::new(Int64Array::from(vec![1])) as ArrayRef)]).unwrap();
    let wrong_name = RecordBatch::try_from_iter([("y", Arc::new(Float64Array::from(vec![1.0])) as ArrayRef)]).unwrap();
    for batch in [
        wrong_type,
        wrong_name,
        RecordBatch::new_empty(Arc::new(Schema::empty())),
    ] {
        assert!(matches!(bound.evaluate(&batch), Err(Error::Usage(_))));
    }
}

#[test]
fn unknown_and_unusable_columns() {
    refuses("txt = 'a'", &["no column `txt`; did you mean `text`?", "`air temp`"]);
    refuses("X > 1", &["did you mean `x`?"]);
    refuses("dict = \"fog\"", &["no column `fog`", "single quotes"]);
    refuses("y.mean > 1", &["no column `y.mean`", "did you mean `x.mean`?"]);
    refuses("list is null", &["`list` is of type Binary"]);
    refuses("x = '3'", &["column `x` is a number", "`'3'` is text", "CAST"]);
    refuses("x and b", &["column `x` is a number, but `AND` wants a boolean"]);
    refuses("not x", &["`NOT` wants a boolean"]);
    refuses("1 < 2 < 3", &["the result of `<` is a boolean"]);
    let twice = Schema::new(vec![
        Field::new("x", DataType::Float64, true),
        Field::new("x", DataType::Float64, true),
    ]);
    let error = Expr::parse("x").unwrap().bind(&twice).unwrap_err();
    assert!(error.to_string().contains("several columns `x`"), "{error}");
}

#[test]
fn columns_in_order() {
    let expr = Expr::parse("case when c > a.b then \"b c\" else a.b + c end").unwrap();
    assert_eq!(expr.columns(), ["c", "a.b", "b c"]);
    assert_eq!(
        Expr::parse("corr(y, x) > rows").unwrap().columns(),
        ["corr(y, x)", "rows"]
    );
    assert_eq!(Expr::parse(" 1 + 2 ").unwrap().to_string(), "1 + 2");
    for word in [
        "date",
        "time",
        "timestamp",
        "value",
        "min",
        "max",
        "count",
        "sum",
        "key",
        "year",
    ] {
        assert_eq!(Expr::parse(&format!("{word} > 1")).unwrap().columns(), [word]);
        assert_eq!(
            Expr::parse(&format!("t.{word} > 1")).unwrap().columns(),
            [format!("t.{word}")]
        );
    }
}

#[test]
fn definitions() {
    let of = |text: &str| {
        Definition::parse(text)
            .map(|d| (d.name, d.expr.to_string()))
            .map_err(|e| e.to_string())
    };
    assert_eq!(of("range = a - b"), Ok(("range".into(), "a - b".into())));
    assert_eq!(of(" \"a=b \"\"c\"\"\"=a"), Ok(("a=b \"c\"".into(), "a".into())));
    assert_eq!(
        of("x=case when a = 1 then 2 end"),
        Ok(("x".into(), "case when a = 1 then 2 end".into()))
    );
    for wrong in [
        "",
        "=",
        "= 1",
        "a",
        "a b = 1",
        "\"a = 1",
        "\"a\"b\" = 1",
        "\"\" = 1",
        "a >= 1",
        "x = ",
        "1x = 2",
        "a\" = 1",
    ] {
        assert!(of(wrong).is_err(), "{wrong}");
    }
    assert!(of("a b = 1").unwrap_err().contains("`a b`"));
}
