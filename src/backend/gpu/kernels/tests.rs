//! The tables and the outputs as WGSL lays them out, next to how they lie in memory here. Nothing of it needs a GPU.

use super::*;
use crate::backend::gpu::load::{SUM_BYTES, real_bytes};
use naga::{Module, TypeInner};
use std::mem::offset_of;

const PRECISIONS: [Precision; 2] = [Precision::Exact, Precision::Fast];

fn parsed(text: &str) -> Module {
    naga::front::wgsl::parse_str(text).unwrap_or_else(|e| panic!("{}", e.emit_to_string(text)))
}

/// Offsets of the members of a struct, and its size.
fn layout(module: &Module, name: &str) -> Option<(Vec<(String, u32)>, u32)> {
    let mut layouter = naga::proc::Layouter::default();
    layouter.update(module.to_ctx()).expect("types have layouts");
    let (handle, inner) = module.types.iter().find_map(|(handle, ty)| match &ty.inner {
        TypeInner::Struct { members, .. } if ty.name.as_deref() == Some(name) => Some((handle, members)),
        _ => None,
    })?;
    let members = inner.iter().map(|m| (m.name.clone().unwrap_or_default(), m.offset));
    Some((members.collect(), layouter[handle].to_stride()))
}

/// Bytes from one element of a storage array to the next.
fn stride(module: &Module, variable: &str) -> Option<u32> {
    let (_, variable) = module
        .global_variables
        .iter()
        .find(|(_, v)| v.name.as_deref() == Some(variable))?;
    match module.types[variable.ty].inner {
        TypeInner::Array { stride, .. } => Some(stride),
        _ => None,
    }
}

macro_rules! mirror {
    ($table:ident: $($field:ident)*) => {
        (
            stringify!($table),
            vec![$((stringify!($field), offset_of!($table, $field) as u32)),*],
            size_of::<$table>() as u32,
        )
    };
}

type Mirror = (&'static str, Vec<(&'static str, u32)>, u32);

fn mirrors() -> [(&'static str, Mirror); 6] {
    [
        ("moments", mirror!(Params: zero items groups spare)),
        ("moments", mirror!(Item: first count pivot mask)),
        (
            "comoments",
            mirror!(Tile: first stride count columns pivots places mask tile to),
        ),
        ("fold", mirror!(Fold: first stride runs count to)),
        ("differences", mirror!(Difference: first rows spans count)),
        (
            "loss",
            mirror!(Rows: first stride count columns pivots places mask weights to),
        ),
    ]
}

/// Where the text's struct is not as it lies in memory.
fn differing(texts: &Texts) -> Vec<String> {
    let mut wrong = Vec::new();
    for precision in PRECISIONS {
        for (name, text) in texts.modules(precision) {
            let module = parsed(&text);
            if name.starts_with("probe") {
                continue;
            }
            let mut same = |what: &str, found: Option<u32>, expected: u32| {
                if found != Some(expected) {
                    wrong.push(format!("{name}, {precision:?}: {what} {found:?}, not {expected}"));
                }
            };
            for (of, (table, members, bytes)) in mirrors() {
                if !(name.starts_with(of) || table == "Params") {
                    continue;
                }
                let (found, size) = layout(&module, table).expect("the struct is there");
                same(table, Some(size), bytes);
                same(table, Some(found.len() as u32), members.len() as u32);
                for (field, at) in members {
                    let found = found.iter().find(|(name, _)| name == field);
                    same(&format!("{table}.{field}"), found.map(|(_, at)| *at), at);
                }
                if table != "Params" {
                    same("items", stride(&module, "items"), bytes);
                }
            }
            let real = real_bytes(precision) as u32;
            let element = if name.ends_with("F64") {
                Element::F64
            } else {
                Element::F32
            };
            same("data", stride(&module, "data"), 4 * element.bytes() as u32);
            same("pivots", stride(&module, "pivots"), 2 * real);
            // What is read back: four sums, five numbers, sums.
            let sum = SUM_BYTES as u32;
            match name.split(' ').next() {
                Some("moments") => {
                    same("out", stride(&module, "out"), 4 * sum);
                    let (members, _) = layout(&module, "Powers").expect("the struct is there");
                    for (k, field) in ["s1", "s2", "s3", "s4"].into_iter().enumerate() {
                        same(
                            field,
                            members.iter().find(|m| m.0 == field).map(|m| m.1),
                            k as u32 * sum,
                        );
                    }
                }
                Some("differences") => {
                    same("out", stride(&module, "out"), 5 * real);
                    let (members, _) = layout(&module, "Found").expect("the struct is there");
                    for (k, field) in ["pivot", "s1", "s2", "least", "greatest"].into_iter().enumerate() {
                        same(
                            field,
                            members.iter().find(|m| m.0 == field).map(|m| m.1),
                            k as u32 * real,
                        );
                    }
                }
                Some("fold") => {
                    same("out", stride(&module, "out"), sum);
                    same("partial", stride(&module, "partial"), sum);
                }
                Some("loss") => {
                    same("partial", stride(&module, "partial"), sum);
                    same("weights", stride(&module, "weights"), real);
                }
                _ => same("partial", stride(&module, "partial"), sum),
            }
            if precision == Precision::Fast {
                let (members, _) = layout(&module, "Sum").expect("the struct is there");
                let expected = [("high".to_owned(), 0), ("low".to_owned(), 4)];
                same("Sum", Some(u32::from(members == expected)), 1);
            }
        }
    }
    wrong
}

#[test]
fn gpu_tables_lie_in_memory_as_the_shaders_read_them() {
    assert_eq!(differing(&Texts::default()), [""; 0]);
}

#[test]
fn gpu_tables_that_differ_are_noticed() {
    let texts = Texts::default();
    for (from, to) in [
        ("    count: u32,\n    pivot: u32,", "    pivot: u32,\n    count: u32,"),
        ("    s1: Sum,\n    s2: Sum,", "    s2: Sum,\n    s1: Sum,"),
        (
            "    first: u32,\n    count: u32,",
            "    first: vec2<u32>,\n    count: u32,",
        ),
    ] {
        let spoilt = Texts {
            moments: texts.moments.replacen(from, to, 1),
            ..texts.clone()
        };
        assert_ne!(spoilt, texts);
        assert!(!differing(&spoilt).is_empty(), "{to}");
    }
}

/// Numbers that both sides know.
#[test]
fn gpu_constants_are_those_of_the_shaders() {
    let texts = Texts::default();
    for (text, line) in [
        (&texts.comoments, format!("const SIDE: u32 = {TILE_SIDE}u;")),
        (&texts.comoments, format!("const SMALL_SIDE: u32 = {SMALL_TILE_SIDE}u;")),
        (&texts.common, format!("const NO_MASK: u32 = {NONE:#x}u;")),
        (&texts.differences, format!("const NO_SPANS: u32 = {NONE:#x}u;")),
    ] {
        assert!(text.lines().any(|l| l == line), "{line}");
    }
}
