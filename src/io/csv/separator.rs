//! Whether a header looks as if another byte separated its fields than the one that was assumed.

/// Bytes that separate fields elsewhere, with the name and what to do about it.
const OTHERS: [(u8, &str, &str); 4] = [
    (b'\t', "tabs", "--input-format tsv reads it"),
    (b',', "commas", "--input-format csv reads it"),
    (b';', "`;`", UNREAD),
    (b'|', "`|`", UNREAD),
];

const UNREAD: &str = "only commas (csv) and tabs (tsv) are read as separators, so convert it first";

/// What to say where another separator would give the header more fields than `delimiter` does.
pub(super) fn hint(names: &[String], delimiter: u8) -> Option<String> {
    let occurrences = |byte: u8| {
        names
            .iter()
            .map(|name| memchr::memchr_iter(byte, name.as_bytes()).count())
            .sum::<usize>()
    };
    // The first of several that are equally frequent.
    let counted = OTHERS.iter().rev().filter(|(byte, ..)| *byte != delimiter);
    let (separators, (_, what, way)) = counted
        .map(|other| (occurrences(other.0), other))
        .max_by_key(|(separators, _)| *separators)?;
    (separators >= names.len()).then(|| format!("the header looks separated by {what}: {way}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str], delimiter: u8) -> Option<String> {
        hint(&names.iter().map(ToString::to_string).collect::<Vec<_>>(), delimiter)
    }

    #[test]
    fn another_separator_is_named_with_the_way_out() {
        for (name, delimiter, parts) in [
            ("a;b;c", b',', ["`;`", "convert"]),
            ("a;b (x|y)", b'\t', ["`;`", "convert"]),
            ("a|b|c", b',', ["`|`", "convert"]),
            ("a\tb", b',', ["tabs", "--input-format tsv"]),
            ("a,b", b'\t', ["commas", "--input-format csv"]),
        ] {
            let hint = of(&[name], delimiter).unwrap();
            assert!(parts.iter().all(|part| hint.contains(part)), "{name}: {hint}");
        }
        // Decimal commas in a unit: "Temp;Wind (m/s, mean);Rain".
        assert!(of(&["Temp;Wind (m/s", "mean);Rain"], b',').is_some());
    }

    #[test]
    fn a_header_that_fits_gives_no_hint() {
        assert_eq!(of(&["a", "b"], b','), None);
        assert_eq!(of(&["a"], b','), None);
        assert_eq!(of(&["a;b", "c", "d"], b','), None);
    }
}
