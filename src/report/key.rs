//! Keys from the JSON object that they print as.

use super::{KeyValue, Named};
use serde_json::value::RawValue;
use std::cmp::Ordering;
use std::collections::HashMap;

/// The key that prints as this JSON object; none for text that no key prints as.
///
/// ```
/// use millstream::report::{KeyValue, key_from_json};
/// let key = key_from_json(r#"{"sensor":"a","n":7}"#).unwrap();
/// assert_eq!(key["n"], KeyValue::Integer(7));
/// assert!(key_from_json("[]").is_none());
/// ```
pub fn key_from_json(text: &str) -> Option<Named<KeyValue>> {
    // One pass keeps the order of the names, the other the digits of the numbers.
    let names: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).ok()?;
    let mut values: HashMap<String, &RawValue> = serde_json::from_str(text).ok()?;
    names
        .into_iter()
        .map(|(name, _)| {
            let value = value(values.remove(&name)?.get())?;
            Some((name, value))
        })
        .collect()
}

fn value(text: &str) -> Option<KeyValue> {
    Some(match text.as_bytes().first()? {
        b'n' => KeyValue::Null,
        b't' => KeyValue::Boolean(true),
        b'f' => KeyValue::Boolean(false),
        b'"' => KeyValue::Text(serde_json::from_str(text).ok()?),
        b'-' | b'0'..=b'9' => match text.parse() {
            Ok(integer) => KeyValue::Integer(integer),
            Err(_) => KeyValue::Number(text.parse().ok()?),
        },
        _ => return None,
    })
}

/// The order in which reports list keys: nulls, false, true, numbers, text.
pub fn compare_keys(a: &Named<KeyValue>, b: &Named<KeyValue>) -> Ordering {
    let pairs = a.values().iter().zip(b.values());
    pairs
        .map(|(a, b)| compare(a, b))
        .find(|order| order.is_ne())
        .unwrap_or_else(|| a.len().cmp(&b.len()))
}

fn compare(a: &KeyValue, b: &KeyValue) -> Ordering {
    use KeyValue::{Boolean, Integer, Null, Number, Text};
    let rank = |v: &KeyValue| match v {
        Null => 0,
        Boolean(_) => 1,
        Integer(_) | Number(_) => 2,
        Text(_) => 3,
    };
    match (a, b) {
        (Boolean(a), Boolean(b)) => a.cmp(b),
        (Integer(a), Integer(b)) => a.cmp(b),
        (Number(a), Number(b)) => a.total_cmp(b),
        // Integers that one float stands for are told apart by nothing but their kind.
        (Integer(a), Number(b)) => (*a as f64).total_cmp(b).then(Ordering::Less),
        (Number(a), Integer(b)) => a.total_cmp(&(*b as f64)).then(Ordering::Greater),
        (Text(a), Text(b)) => a.cmp(b),
        (a, b) => rank(a).cmp(&rank(b)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_back_as_they_were() {
        let values = [
            KeyValue::Null,
            KeyValue::Boolean(true),
            KeyValue::Boolean(false),
            KeyValue::Integer(i128::MIN),
            KeyValue::Integer(0),
            KeyValue::Integer(i128::from(u64::MAX) + 1),
            KeyValue::Number(7.0),
            KeyValue::Number(1e300),
            KeyValue::Number(-0.1),
            KeyValue::Text(String::new()),
            KeyValue::Text("a \"b\"\n\u{1f600}".into()),
        ];
        let key: Named<KeyValue> = values
            .into_iter()
            .enumerate()
            .map(|(i, v)| (format!("k{}", 20 - i), v))
            .collect();
        let text = serde_json::to_string(&key).unwrap();
        assert_eq!(key_from_json(&text).unwrap(), key, "{text}");
        for text in ["", "{", "[1]", "{\"a\":[1]}", "{\"a\":{}}", "7"] {
            assert_eq!(key_from_json(text), None, "{text}");
        }
    }

    #[test]
    fn keys_have_an_order() {
        let key = |v: KeyValue| Named::from_iter([("k".to_owned(), v)]);
        let ordered = [
            KeyValue::Null,
            KeyValue::Boolean(false),
            KeyValue::Boolean(true),
            KeyValue::Integer(-3),
            KeyValue::Number(2.5),
            KeyValue::Integer(10),
            KeyValue::Text("B".into()),
            KeyValue::Text("a".into()),
        ];
        for (i, a) in ordered.iter().enumerate() {
            for (j, b) in ordered.iter().enumerate() {
                assert_eq!(compare_keys(&key(a.clone()), &key(b.clone())), i.cmp(&j), "{a:?} {b:?}");
            }
        }
    }
}
