//! Random expressions against an evaluator that knows nothing of Arrow: one row at a time, over `Option`s.

use super::*;
use proptest::prelude::*;

/// A number: an expression over the columns `a`, `b` and `c`.
#[derive(Debug, Clone)]
enum N {
    Column(usize),
    Constant(f64),
    Null,
    Negative(Box<Self>),
    Binary(char, Box<Self>, Box<Self>),
    If(Box<B>, Box<Self>, Box<Self>),
    Coalesce(Box<Self>, Box<Self>),
}

/// A truth value.
#[derive(Debug, Clone)]
enum B {
    Constant(Option<bool>),
    Compare(&'static str, N, N),
    Not(Box<Self>),
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    IsNull(N),
    Between(bool, N, N, N),
    In(bool, N, Vec<N>),
}

type Row = [Option<f64>; 3];

fn there(x: f64) -> Option<f64> {
    (!x.is_nan()).then_some(x)
}

impl N {
    fn value(&self, row: &Row) -> Option<f64> {
        match self {
            Self::Column(column) => row[*column].and_then(there),
            Self::Constant(x) => Some(*x),
            Self::Null => None,
            Self::Negative(x) => Some(-x.value(row)?),
            Self::Binary(op, l, r) => {
                let (l, r) = (l.value(row)?, r.value(row)?);
                there(match op {
                    '+' => l + r,
                    '-' => l - r,
                    '*' => l * r,
                    '/' => l / r,
                    _ => l % r,
                })
            }
            Self::If(condition, yes, no) => if condition.value(row) == Some(true) { yes } else { no }.value(row),
            Self::Coalesce(x, y) => x.value(row).or(y.value(row)),
        }
    }

    /// How tightly it binds, and its text with no more parentheses than it needs.
    fn text(&self) -> (u8, String) {
        match self {
            Self::Column(column) => (9, ["a", "b", "c"][*column].into()),
            Self::Constant(x) => (if x.is_sign_negative() { 8 } else { 9 }, format!("{x:?}")),
            Self::Null => (9, "NULL".into()),
            Self::Negative(x) => (8, format!("- {}", wrap(9, x.text()))),
            Self::Binary(op, l, r) => {
                let level = if matches!(op, '+' | '-') { 6 } else { 7 };
                (
                    level,
                    format!("{} {op} {}", wrap(level, l.text()), wrap(level + 1, r.text())),
                )
            }
            Self::If(c, yes, no) => (
                9,
                format!(
                    "CASE WHEN {} THEN {} ELSE {} END",
                    c.text().1,
                    yes.text().1,
                    no.text().1
                ),
            ),
            Self::Coalesce(x, y) => (9, format!("coalesce({}, {})", x.text().1, y.text().1)),
        }
    }
}

impl B {
    fn value(&self, row: &Row) -> Option<bool> {
        match self {
            Self::Constant(truth) => *truth,
            Self::Compare(op, l, r) => compare(op, l.value(row), r.value(row)),
            Self::Not(x) => Some(!x.value(row)?),
            Self::And(l, r) => and(l.value(row), r.value(row)),
            Self::Or(l, r) => or(l.value(row), r.value(row)),
            Self::IsNull(x) => Some(x.value(row).is_none()),
            Self::Between(negated, x, low, high) => {
                let x = x.value(row);
                let inside = and(compare(">=", x, low.value(row)), compare("<=", x, high.value(row)));
                inside.map(|inside| inside != *negated)
            }
            Self::In(negated, x, items) => {
                let equal = |item: &N| compare("=", x.value(row), item.value(row));
                items
                    .iter()
                    .map(equal)
                    .fold(Some(false), or)
                    .map(|found| found != *negated)
            }
        }
    }

    fn text(&self) -> (u8, String) {
        let not = |negated: &bool| if *negated { "NOT " } else { "" };
        match self {
            Self::Constant(truth) => (9, truth.map_or("NULL".into(), |truth| truth.to_string())),
            Self::Compare(op, l, r) => (4, format!("{} {op} {}", wrap(5, l.text()), wrap(5, r.text()))),
            Self::Not(x) => (3, format!("NOT {}", wrap(3, x.text()))),
            Self::And(l, r) => (2, format!("{} AND {}", wrap(2, l.text()), wrap(3, r.text()))),
            Self::Or(l, r) => (1, format!("{} OR {}", wrap(1, l.text()), wrap(2, r.text()))),
            Self::IsNull(x) => (4, format!("{} IS NULL", wrap(5, x.text()))),
            Self::Between(negated, x, low, high) => {
                let [x, low, high] = [x, low, high].map(|n| wrap(5, n.text()));
                (4, format!("{x} {}BETWEEN {low} AND {high}", not(negated)))
            }
            Self::In(negated, x, items) => {
                let items: Vec<String> = items.iter().map(|item| item.text().1).collect();
                (
                    4,
                    format!("{} {}IN ({})", wrap(5, x.text()), not(negated), items.join(", ")),
                )
            }
        }
    }
}

fn wrap(level: u8, (own, text): (u8, String)) -> String {
    if own < level { format!("({text})") } else { text }
}

fn compare(op: &str, l: Option<f64>, r: Option<f64>) -> Option<bool> {
    let (l, r) = (l?, r?);
    Some(match op {
        "=" => l == r,
        "<>" => l != r,
        "<" => l < r,
        "<=" => l <= r,
        ">" => l > r,
        _ => l >= r,
    })
}

fn and(l: Option<bool>, r: Option<bool>) -> Option<bool> {
    if l == Some(false) || r == Some(false) {
        Some(false)
    } else {
        Some(l? && r?)
    }
}

fn or(l: Option<bool>, r: Option<bool>) -> Option<bool> {
    if l == Some(true) || r == Some(true) {
        Some(true)
    } else {
        Some(l? || r?)
    }
}

/// Few values, so that equality, zeros of both signs, infinities and NaN happen.
fn cell() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![
        4 => prop::sample::select(vec![-2.0, -1.0, -0.0, 0.0, 0.5, 1.0, 3.0, 1e300, f64::INFINITY, f64::NAN]).prop_map(Some),
        1 => Just(None),
    ]
}

fn constant() -> impl Strategy<Value = N> {
    prop_oneof![
        6 => prop::sample::select(vec![-1.0, -0.0, 0.0, 0.5, 1.0, 3.0]).prop_map(N::Constant),
        1 => Just(N::Null),
    ]
}

fn number(depth: u32) -> BoxedStrategy<N> {
    let leaf = prop_oneof![3 => (0..3usize).prop_map(N::Column), 2 => constant()];
    if depth == 0 {
        return leaf.boxed();
    }
    let n = number(depth - 1).prop_map(Box::new).boxed();
    let c = truth(depth - 1).prop_map(Box::new);
    let ops = prop::sample::select(vec!['+', '-', '*', '/', '%']);
    prop_oneof![
        2 => leaf,
        1 => n.clone().prop_map(N::Negative),
        6 => (ops, n.clone(), n.clone()).prop_map(|(op, l, r)| N::Binary(op, l, r)),
        1 => (c, n.clone(), n.clone()).prop_map(|(c, yes, no)| N::If(c, yes, no)),
        1 => (n.clone(), n).prop_map(|(x, y)| N::Coalesce(x, y)),
    ]
    .boxed()
}

fn truth(depth: u32) -> BoxedStrategy<B> {
    let n = number(depth.saturating_sub(1));
    let not = any::<bool>;
    let ops = prop::sample::select(vec!["=", "<>", "<", "<=", ">", ">="]);
    let items = prop::collection::vec(prop_oneof![n.clone(), constant()], 1..4);
    let literals = prop::collection::vec(constant(), 1..4);
    let leaf = prop_oneof![
        1 => any::<Option<bool>>().prop_map(B::Constant),
        6 => (ops, n.clone(), n.clone()).prop_map(|(op, l, r)| B::Compare(op, l, r)),
        1 => n.clone().prop_map(B::IsNull),
        1 => (not(), n.clone(), n.clone(), n.clone()).prop_map(|(not, x, low, high)| B::Between(not, x, low, high)),
        1 => (not(), n.clone(), items).prop_map(|(not, x, items)| B::In(not, x, items)),
        1 => (not(), n, literals).prop_map(|(not, x, items)| B::In(not, x, items)),
    ];
    if depth == 0 {
        return leaf.boxed();
    }
    let b = truth(depth - 1).prop_map(Box::new).boxed();
    prop_oneof![
        3 => leaf,
        1 => b.clone().prop_map(B::Not),
        2 => (b.clone(), b.clone()).prop_map(|(l, r)| B::And(l, r)),
        2 => (b.clone(), b).prop_map(|(l, r)| B::Or(l, r)),
    ]
    .boxed()
}

fn batch(rows: &[Row]) -> RecordBatch {
    let column = |c: usize| Arc::new(rows.iter().map(|row| row[c]).collect::<Float64Array>()) as ArrayRef;
    let columns = [("a", column(0), true), ("b", column(1), true), ("c", column(2), true)];
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

const WORDS: &[&str] = &[
    "x",
    "text",
    "b",
    "day",
    "1",
    "'a'",
    "(",
    ")",
    ",",
    "+",
    "-",
    "*",
    "/",
    "=",
    "<",
    "and",
    "or",
    "not",
    "in",
    "is",
    "null",
    "case",
    "when",
    "then",
    "else",
    "end",
    "like",
    "between",
    "abs",
    "coalesce",
    "round",
    "cast",
    "as double",
    "::",
    ".",
    "date",
    "interval",
    "[",
    "]",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn numbers_agree_bit_for_bit(n in number(3), rows in prop::collection::vec([cell(), cell(), cell()], 0..20)) {
        let (text, batch) = (n.text().1, batch(&rows));
        let found = Expr::parse(&text).unwrap().bind_number(&batch.schema()).unwrap().evaluate(&batch).unwrap();
        let found: Vec<_> = found.as_primitive::<Float64Type>().iter().map(|x| x.map(f64::to_bits)).collect();
        let expected: Vec<_> = rows.iter().map(|row| n.value(row).map(f64::to_bits)).collect();
        prop_assert_eq!(found, expected, "{}", text);
    }

    #[test]
    fn truths_agree(b in truth(3), rows in prop::collection::vec([cell(), cell(), cell()], 0..20)) {
        let (text, batch) = (b.text().1, batch(&rows));
        let bound = Expr::parse(&text).unwrap().bind_filter(&batch.schema()).unwrap();
        let found: Vec<_> = bound.evaluate(&batch).unwrap().as_boolean().iter().collect();
        let expected: Vec<_> = rows.iter().map(|row| b.value(row)).collect();
        let kept: Vec<_> = bound.filter(&batch).unwrap().values().iter().collect();
        prop_assert_eq!(&found, &expected, "{}", text);
        prop_assert_eq!(kept, expected.iter().map(|truth| *truth == Some(true)).collect::<Vec<_>>(), "{}", text);
    }

    #[test]
    fn no_text_panics(words in prop::collection::vec(prop_oneof![
        3 => prop::sample::select(WORDS).prop_map(str::to_owned),
        1 => ".{0,3}",
    ], 0..14)) {
        let batch = table();
        if let Ok(bound) = Expr::parse(&words.join(" ")).and_then(|expr| expr.bind(&batch.schema())) {
            prop_assert_eq!(bound.evaluate(&batch).unwrap().len(), 4);
        }
    }
}
