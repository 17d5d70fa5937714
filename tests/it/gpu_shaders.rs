//! The shaders' texts without a GPU: each module parses and is valid. How their structs lie in memory is tested beside
//! their mirrors.

use crate::gpu_judge::PRECISIONS;
use millstream::Precision;
use millstream::backend::gpu::Texts;
use naga::valid::{Capabilities, ValidationFlags, Validator};

/// What is wrong with a module.
fn wrong(text: &str, precision: Precision) -> Option<String> {
    let module = match naga::front::wgsl::parse_str(text) {
        Ok(module) => module,
        Err(e) => return Some(e.emit_to_string(text)),
    };
    let f64 = if precision == Precision::Exact {
        Capabilities::FLOAT64
    } else {
        Capabilities::empty()
    };
    let found = Validator::new(ValidationFlags::all(), f64).validate(&module);
    found.err().map(|e| e.emit_to_string(text))
}

#[test]
fn gpu_shaders_parse_and_are_valid() {
    for precision in PRECISIONS {
        let modules = Texts::default().modules(precision);
        // Two kinds of elements, or one; no differences in f32; the probes.
        let expected = if precision == Precision::Exact {
            2 * 5 + 2
        } else {
            4 + 1
        };
        assert_eq!(modules.len(), expected);
        for (name, text) in modules {
            assert_eq!(wrong(&text, precision), None, "{name}, {precision:?}");
        }
    }
}

#[test]
fn gpu_shaders_that_are_wrong_are_noticed() {
    let text = |spoil: &dyn Fn(&mut Texts)| {
        let mut texts = Texts::default();
        spoil(&mut texts);
        assert_ne!(texts, Texts::default());
        let modules = texts.modules(Precision::Fast);
        modules
            .into_iter()
            .find(|(name, _)| name.starts_with("moments"))
            .unwrap()
            .1
    };
    let syntax = text(&|t| t.moments = t.moments.replacen("fn moments(", "fn moments", 1));
    let types = text(&|t| t.common = t.common.replacen("x.x + x.y", "x.x + x", 1));
    // f64 is not in the capabilities of `fast`.
    let wide = text(&|t| t.fast = t.fast.replacen("alias Real = f32;", "alias Real = f64;", 1));
    for (what, text) in [("syntax", syntax), ("types", types), ("wide", wide)] {
        assert!(wrong(&text, Precision::Fast).is_some(), "{what}");
    }
}
