//! The reference data sets of NIST (StRD): univariate and linear, with certified or constructed answers.
//!
//! A certified value belongs to the decimals of the data set; what is stored are the nearest f64. Where that costs
//! digits (NumAcc4: 9.5 of the standard deviation), the exact value of the stored numbers is the one to compare with.

use crate::support::data;

/// One column with its certified mean and standard deviation (divisor n − 1).
#[derive(Debug)]
pub(crate) struct Univariate {
    pub(crate) name: &'static str,
    pub(crate) values: Vec<f64>,
    pub(crate) mean: f64,
    pub(crate) std: f64,
}

/// A linear model with its certified answers; the intercept comes first among the coefficients.
#[derive(Debug)]
pub(crate) struct Linear {
    pub(crate) name: &'static str,
    pub(crate) target: Vec<f64>,
    pub(crate) terms: Vec<Vec<f64>>,
    pub(crate) coefficients: Vec<f64>,
    pub(crate) standard_errors: Vec<f64>,
    pub(crate) residual_std: f64,
    pub(crate) r_squared: f64,
}

impl Linear {
    /// The terms as slices.
    pub(crate) fn term_slices(&self) -> Vec<&[f64]> {
        self.terms.iter().map(Vec::as_slice).collect()
    }
}

fn read(name: &str) -> String {
    let path = data("tests/data").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn number(text: &str) -> f64 {
    text.parse().unwrap_or_else(|e| panic!("{text:?}: {e}"))
}

/// Every univariate set.
pub(crate) fn univariate() -> Vec<Univariate> {
    let from_file = |name, file, mean, std| Univariate {
        name,
        values: read(file).split_whitespace().map(number).collect(),
        mean,
        std,
    };
    vec![
        from_file("Michelson", "michaelso.txt", 299.852_4, 0.079_010_547_819_051_8),
        from_file("Lottery", "lottery.txt", 518.958_715_596_330, 291.699_727_470_969),
        from_file("NumAcc1", "numacc1.txt", 10_000_002.0, 1.0),
        alternating("NumAcc2", [1.2, 1.1, 1.3]),
        alternating("NumAcc3", [1_000_000.2, 1_000_000.1, 1_000_000.3]),
        alternating("NumAcc4", [10_000_000.2, 10_000_000.1, 10_000_000.3]),
    ]
}

/// NumAcc2 to 4: the centre once, then low and high 500 times.
fn alternating(name: &'static str, [centre, low, high]: [f64; 3]) -> Univariate {
    let mut values = vec![centre];
    values.extend([low, high].repeat(500));
    Univariate {
        name,
        values,
        mean: centre,
        std: 0.1,
    }
}

/// Every linear set: two observed ones, two polynomials that fit exactly, three of them disturbed.
pub(crate) fn linear() -> Vec<Linear> {
    vec![
        observed("Norris", "Norris.dat"),
        observed("Longley", "Longley.dat"),
        wampler1(),
        wampler2(),
        disturbed("Wampler3", 1.0, 0.999_995_559_025_820),
        disturbed("Wampler4", 100.0, 0.957_478_440_825_662),
        disturbed("Wampler5", 10_000.0, 0.002_246_689_215_749_40),
    ]
}

/// A set in NIST's file form: certified values first, then a header line `Data: y x …` and the rows.
fn observed(name: &'static str, file: &str) -> Linear {
    let text = read(file);
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    let certified = |label: &[&str]| {
        let line = lines
            .iter()
            .find(|words| words.starts_with(label) && words.len() == label.len() + 1);
        number(line.unwrap_or_else(|| panic!("{file} lacks {label:?}"))[label.len()])
    };
    let parameters: Vec<&Vec<&str>> = lines
        .iter()
        .filter(|words| words.len() == 3 && words[0].strip_prefix('B').is_some_and(|n| n.parse::<u32>().is_ok()))
        .collect();
    let header = lines.iter().position(|words| words.starts_with(&["Data:", "y"]));
    let header = header.unwrap_or_else(|| panic!("{file} lacks its data"));
    let rows: Vec<Vec<f64>> = lines[header + 1..]
        .iter()
        .filter(|words| !words.is_empty())
        .map(|words| words.iter().map(|w| number(w)).collect())
        .collect();
    Linear {
        name,
        target: rows.iter().map(|row| row[0]).collect(),
        terms: (1..parameters.len())
            .map(|j| rows.iter().map(|row| row[j]).collect())
            .collect(),
        coefficients: parameters.iter().map(|words| number(words[1])).collect(),
        standard_errors: parameters.iter().map(|words| number(words[2])).collect(),
        residual_std: certified(&["Standard", "Deviation"]),
        r_squared: certified(&["R-Squared"]),
    }
}

/// x, x², …, x^degree.
fn powers(x: &[f64], degree: i32) -> Vec<Vec<f64>> {
    (1..=degree).map(|k| x.iter().map(|x| x.powi(k)).collect()).collect()
}

/// y = 1 + x + … + x⁵ for x = 0 … 20; every number is an integer and exact.
fn wampler1() -> Linear {
    polynomial("Wampler1", [1.0; 6], |x| (0..6).map(|k| x.powi(k)).sum())
}

/// y = 1 + 0.1x + … + 0.00001x⁵ for x = 0 … 20, as decimals with five places.
fn wampler2() -> Linear {
    let y = |x: f64| (0..6).map(|k| x.powi(k) * 10f64.powi(5 - k)).sum::<f64>() / 1e5;
    polynomial("Wampler2", [1.0, 0.1, 0.01, 0.001, 0.0001, 0.00001], y)
}

/// The disturbance of Wampler3 to 5, orthogonal to every polynomial of degree 5 on 0 … 20; it is the same from behind.
const DISTURBANCE: [f64; 11] = [
    759.0, -2048.0, 2048.0, -2048.0, 2523.0, -2048.0, 2048.0, -2048.0, 1838.0, -2048.0, 2048.0,
];

/// Wampler1 plus so many times the disturbance: the coefficients stay, the errors are in proportion.
fn disturbed(name: &'static str, times: f64, r_squared: f64) -> Linear {
    let mut set = wampler1();
    for (i, y) in set.target.iter_mut().enumerate() {
        *y += times * DISTURBANCE[i.min(20 - i)];
    }
    let standard_errors = [
        2_152.326_246_781_70,
        2_363.551_734_696_81,
        779.343_524_331_583,
        101.475_507_550_350,
        5.645_665_121_707_52,
        0.112_324_854_679_312,
    ];
    Linear {
        name,
        standard_errors: standard_errors.iter().map(|e| e * times).collect(),
        residual_std: 2_360.145_023_792_68 * times,
        r_squared,
        ..set
    }
}

fn polynomial(name: &'static str, coefficients: [f64; 6], y: impl Fn(f64) -> f64) -> Linear {
    let x: Vec<f64> = (0..=20).map(f64::from).collect();
    Linear {
        name,
        target: x.iter().map(|&x| y(x)).collect(),
        terms: powers(&x, 5),
        coefficients: coefficients.to_vec(),
        standard_errors: vec![0.0; 6],
        residual_std: 0.0,
        r_squared: 1.0,
    }
}

/// A polynomial of degree 10 on [−9, −3], after NIST's Filip: the terms x … x¹⁰ and a target that they nearly fit.
///
/// The condition of the terms is about 1e15. The answer is the oracle's, for the numbers as stored.
pub(crate) fn filip_like() -> (Vec<f64>, Vec<Vec<f64>>) {
    let x: Vec<f64> = (0..82)
        .map(|i| ((-9.0 + 6.0 * f64::from(i) / 81.0) * 1e6).round() / 1e6)
        .collect();
    // Four places, as observed values have; the disturbance repeats with a period that no such polynomial follows.
    let y = |(i, x): (u32, &f64)| {
        let wave = 0.02 * x + 0.97 + 0.04 * (x + 6.0) * (x + 4.0) * (x + 8.0) / 8.0;
        ((wave + 0.001 * (f64::from(i * 37 % 11) - 5.0)) * 1e4).round() / 1e4
    };
    ((0..).zip(&x).map(y).collect(), powers(&x, 10))
}
