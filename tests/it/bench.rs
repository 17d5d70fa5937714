//! `millstream bench` and what it is made of: right results are verified, each kind of wrong result is noticed.

use crate::random::Random;
use millstream::backend::{Partial, Resident, Tolerance, Work};
use millstream::bench::{Bench, Contender, Grid, Place, run};
use millstream::machine::rows;
use millstream::planner::{Costs, CpuCosts, GpuCosts, Part, Planner, Side, Table, Tables};
use millstream::summary::{Loss, RegressionMoments, Summary};
use millstream::{Backend, Batch, Cpu, Precision};

/// What goes wrong in the last block of a work.
type Spoil = fn(&mut Summary);

/// The CPU, with a loss of its own and something wrong.
struct Spoiled {
    cpu: Cpu,
    spoil: Spoil,
    works: Vec<(u64, Work)>,
}

impl Spoiled {
    fn new(spoil: Spoil) -> Self {
        let (cpu, works) = (Cpu::new(), Vec::new());
        Self { cpu, spoil, works }
    }
}

/// The linear loss of one block, row by row.
fn loss(work: &Work, rows: std::ops::Range<usize>) -> Loss {
    let (shape, weights) = (work.shape.loss.as_ref().unwrap(), work.weights.as_ref().unwrap());
    assert!(shape.intercept && weights.len() == shape.weights());
    let value = |column: usize, row: usize| work.batch.columns()[column].get(row);
    let mut sum = Loss::new(shape.weights());
    for row in rows {
        let x: Vec<f64> = std::iter::once(1.0)
            .chain(shape.terms.iter().map(|c| value(*c, row)))
            .collect();
        let z: f64 = x.iter().zip(&**weights).map(|(x, w)| x * w).sum();
        let residual = z - value(shape.target, row);
        sum.rows += 1;
        sum.loss += 0.5 * residual * residual;
        sum.gradient.iter_mut().zip(&x).for_each(|(g, x)| *g += residual * x);
    }
    sum
}

impl Backend for Spoiled {
    fn name(&self) -> &str {
        "spoiled"
    }
    fn device(&self) -> String {
        "a test".into()
    }
    fn tolerance(&self) -> Tolerance {
        self.cpu.tolerance()
    }
    fn submit(&mut self, seq: u64, work: Work) -> millstream::Result<()> {
        self.works.push((seq, work));
        Ok(())
    }
    fn collect(&mut self) -> millstream::Result<(u64, Vec<Partial>)> {
        let (seq, work) = self.works.remove(0);
        let mut partials = self.cpu.reduce(&work);
        let last = work.cells.blocks.len() - 1;
        for (i, partial) in partials.iter_mut().enumerate() {
            let Partial::Leaf(leaf) = partial else { panic!("open") };
            if work.shape.loss.is_some() {
                leaf.loss = Some(Box::new(loss(&work, work.cells.blocks[i].rows.clone())));
            }
            if i == last {
                (self.spoil)(leaf);
            }
        }
        Ok((seq, partials))
    }
    fn depth(&self) -> usize {
        1
    }
    fn upload(&mut self, batch: &Batch) -> millstream::Result<Resident> {
        Ok(Resident::on_host(batch.clone()))
    }
}

fn grid(summaries: &[Part]) -> Grid {
    Grid {
        shapes: vec![(1, 1), (300, 3), (5000, 13)],
        summaries: summaries.to_vec(),
        seconds: 0.0,
        precision: Precision::Exact,
    }
}

fn bench(grid: &Grid, spoil: Spoil, planner: Option<&Planner>) -> Bench {
    let (mut cpu, mut spoiled) = (Spoiled::new(|_| {}), Spoiled::new(spoil));
    let mut contenders = [
        Contender {
            side: Side::Cpu,
            backend: &mut cpu,
            keeps_rows: false,
        },
        Contender {
            side: Side::Gpu,
            backend: &mut spoiled,
            keeps_rows: true,
        },
    ];
    run(grid, &mut contenders, planner, None, &mut |_| {}).unwrap()
}

#[test]
fn right_results_are_verified() {
    for precision in [Precision::Exact, Precision::Fast] {
        let grid = Grid {
            precision,
            ..grid(&Part::ALL)
        };
        let bench = bench(&grid, |_| {}, None);
        let wrong: Vec<_> = bench.failures().collect();
        assert!(bench.is_verified(), "{wrong:?}");
        // Seven summaries, three sizes, three contenders: nothing is left out.
        assert_eq!(bench.measurements.len(), 63);
        for m in &bench.measurements {
            let v = m.verified.as_ref().unwrap();
            assert!(v.ok && v.error <= v.tolerance && v.failure.is_none(), "{m:?}");
            assert!(m.runs >= 3 && m.seconds_min <= m.seconds && m.seconds <= m.seconds_max);
            assert_eq!(m.speed_up.is_some(), m.backend == Side::Gpu);
        }
        assert_eq!(bench.precision, precision.name());
    }
}

fn entry(summary: &mut Summary) -> &mut f64 {
    let m = summary.comoments.as_mut().unwrap();
    let last = m.products.len() - 2;
    &mut m.products[last]
}

#[test]
fn wrong_results_are_noticed() {
    let spoils: [(Part, &str, Spoil); 19] = [
        (Part::Moments2, "rows", |s| s.rows += 1),
        (Part::Moments2, "count", |s| s.columns[0].count += 1),
        (Part::Moments2, "missing", |s| s.columns[0].missing += 1),
        (Part::Moments2, "mean", |s| s.columns[0].sum.hi *= 1.0 + 1e-9),
        (Part::Moments2, "variance", |s| s.columns[0].m2 *= 1.0 + 1e-9),
        (Part::Moments2, "least", |s| s.columns[0].min -= 1.0),
        (Part::Moments2, "greatest", |s| s.columns[0].max += 1.0),
        (Part::Moments2, "column 12", |s| s.columns.truncate(12)),
        (Part::Moments4, "m3", |s| s.columns[0].m3 += s.columns[0].m2 * 1e-6),
        (Part::Moments4, "m4", |s| s.columns[0].m4 *= 1.0 + 1e-6),
        (Part::Covariance, "product", |s| {
            s.comoments.as_mut().unwrap().products[0] *= 1.0 + 1e-9;
        }),
        (Part::Covariance, "the matrix", |s| *entry(s) += 1e-6),
        (Part::Covariance, "NaN", |s| *entry(s) = f64::NAN),
        (Part::Covariance, "the matrix", |s| s.comoments = None),
        (Part::Regression, "product", |s| match &mut s.regression {
            Some(RegressionMoments::Exact(m)) => m.products[0] = m.products[0].scaled(1),
            _ => panic!("no double-double products"),
        }),
        (Part::Differences, "unordered", |s| s.differences[0].unordered += 1),
        (Part::Differences, "variance", |s| {
            s.differences[0].moments.m2 *= 1.0 + 1e-9;
        }),
        (Part::Quantiles, "quantiles", |s| s.quantiles[0].push(1.0)),
        (Part::Loss, "gradient", |s| s.loss.as_mut().unwrap().gradient[0] += 1e-3),
    ];
    for (i, (part, word, spoil)) in spoils.into_iter().enumerate() {
        let grid = Grid {
            shapes: vec![(5000, 13)],
            ..grid(&[part])
        };
        let bench = bench(&grid, spoil, None);
        let failures: Vec<_> = bench.failures().collect();
        assert_eq!(failures.len(), 2, "spoil {i} of {part:?}: host and device");
        for m in failures {
            assert_eq!(m.backend, Side::Gpu, "spoil {i}");
            let why = m.verified.as_ref().unwrap().failure.as_deref().unwrap();
            assert!(why.contains(word), "spoil {i}: {why:?} lacks {word:?}");
        }
        let text = bench.to_text();
        assert_eq!(text.matches("WRONG").count(), 2, "{text}");
    }
}

#[test]
fn any_entry_of_a_matrix_is_seen() {
    let mut random = Random::new(5);
    // Entries as a random walk over the triangle: what is added to one is not seen in another.
    for _ in 0..6 {
        let place = random.below(91);
        PLACE.with(|p| p.set(place as usize));
        let grid = Grid {
            shapes: vec![(600, 13)],
            ..grid(&[Part::Covariance])
        };
        let bench = bench(
            &grid,
            |s| {
                let m = s.comoments.as_mut().unwrap();
                PLACE.with(|p| m.products[p.get()] += 1e-6);
            },
            None,
        );
        assert!(!bench.is_verified(), "entry {place}");
    }
}

std::thread_local! {
    static PLACE: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

#[test]
fn what_a_backend_does_not_do_is_said() {
    let grid = Grid {
        shapes: vec![(300, 3)],
        ..grid(&[Part::Loss])
    };
    let bench = bench(&grid, |s| s.loss = None, None);
    assert!(bench.is_verified());
    let missing = bench.measurements.iter().filter(|m| m.backend == Side::Gpu);
    for m in missing {
        assert!(m.unavailable.is_some() && m.seconds.is_none(), "{m:?}");
    }
    assert!(bench.crossovers.is_empty());
}

/// Costs of a made-up machine on which each side takes so many seconds, whatever the work.
fn planner(cpu: f64, gpu: f64) -> Planner {
    let tables = |seconds: f64| Tables::new(Part::ALL.map(|part| Table::new(part, [(1, vec![(1, seconds)])])));
    Planner::new(Costs {
        cpu: CpuCosts {
            threads: 1,
            instruction_set: "none".into(),
            read_bytes_per_s: 1e9,
            seconds: tables(cpu),
        },
        gpu: Some(GpuCosts {
            adapter: "made up".into(),
            driver: "1".into(),
            precision: "exact".into(),
            copy_bytes_per_s: 1e9,
            upload_bytes_per_s: 1e9,
            download_bytes_per_s: 1e9,
            packing_bytes_per_s: 1e9,
            submit_seconds: 1.0,
            round_trip_seconds: 1.0,
            open_seconds: 1.0,
            streamed: tables(gpu),
            resident: tables(gpu),
        }),
    })
}

#[test]
fn decisions_are_held_against_what_was_measured() {
    let grid = grid(&[Part::Moments2, Part::Covariance]);
    for (cpu, gpu, side) in [(1.0, 2.0, Side::Cpu), (2.0, 1.0, Side::Gpu)] {
        let bench = bench(&grid, |_| {}, Some(&planner(cpu, gpu)));
        // Two summaries, three sizes, rows in two places.
        assert_eq!(bench.decisions.len(), 12);
        for d in &bench.decisions {
            assert_eq!(d.backend, side);
            assert!(d.cpu_seconds < d.gpu_seconds || side == Side::Gpu, "{d:?}");
            let at = |backend, place| {
                let same = |m: &&_| {
                    let m: &millstream::bench::Measurement = m;
                    (m.summary, m.rows, m.columns, m.backend, m.place) == (d.summary, d.rows, d.columns, backend, place)
                };
                bench.measurements.iter().find(same).unwrap().seconds.unwrap()
            };
            let (cpu, gpu) = (at(Side::Cpu, Place::Host), at(Side::Gpu, d.place));
            let chosen = if side == Side::Cpu { cpu } else { gpu };
            assert_eq!(d.over_best, Some(chosen / cpu.min(gpu)));
            assert_eq!(d.within, chosen / cpu.min(gpu) <= 1.15);
        }
        assert_eq!(
            bench.poor_decisions().count(),
            bench.decisions.iter().filter(|d| !d.within).count()
        );
        assert_eq!(bench.crossovers.len(), 12);
    }
}

#[test]
fn an_empty_cell_is_refused() {
    for shape in [(0, 3), (3, 0)] {
        let grid = Grid {
            shapes: vec![shape],
            ..grid(&[Part::Moments2])
        };
        assert!(run(&grid, &mut [], None, None, &mut |_| {}).is_err());
    }
    assert_eq!(Grid::product(&[10, 20], &[1, 2], 20), [(10, 1), (20, 1), (10, 2)]);
}

#[test]
fn rows_are_the_same_everywhere() {
    // Worked out with Python's integers from the definition.
    let found = [rows::value(0, 0), rows::value(1, 0), rows::value(12_345, 6)];
    assert_eq!(found, KNOWN);
    let batch = rows::batch(3, 2).unwrap();
    assert_eq!(
        (batch.rows(), batch.names()),
        (3, &["c0".to_string(), "c1".to_string()][..])
    );
}

const KNOWN: [f64; 3] = [3.9677200317382812, 3.0825119018554688, 9.990707397460938];

#[cfg(feature = "gpu")]
#[test]
fn gpu_results_are_verified() {
    use crate::gpu_agreement::{gpu, options};
    for precision in [Precision::Exact, Precision::Fast] {
        let Some(mut gpu) = gpu(options(precision)) else { return };
        let contender = Contender {
            side: Side::Gpu,
            backend: &mut gpu,
            keeps_rows: true,
        };
        let grid = Grid {
            precision,
            shapes: vec![(1, 1), (299, 3), (5002, 9)],
            ..grid(&Part::ALL)
        };
        let bench = run(&grid, &mut [contender], None, None, &mut |_| {}).unwrap();
        assert_eq!(bench.measurements.len(), 42);
        for m in &bench.measurements {
            assert!(m.verified.as_ref().is_some_and(|v| v.ok), "{precision:?}: {m:?}");
        }
    }
}

#[cfg(feature = "cli")]
mod command {
    use crate::command::Place;
    use serde_json::Value;

    fn json(text: &[u8]) -> Value {
        serde_json::from_slice(text).unwrap()
    }

    #[test]
    fn a_tiny_grid_on_the_cpu() {
        let place = Place::new();
        let args = "bench --rows 10,1e3 --columns 1,4 --seconds 0 --backends cpu --format json";
        let outcome = place.run(&args.split(' ').collect::<Vec<_>>());
        assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""));
        let bench = json(&outcome.stdout);
        assert_eq!(bench["schema"], "millstream.bench/1");
        let measurements = bench["measurements"].as_array().unwrap();
        assert_eq!(measurements.len(), 28);
        for m in measurements {
            assert_eq!((&m["backend"], &m["place"]), (&"cpu".into(), &"host".into()));
            assert!(m["verified"]["ok"] == true || m["unavailable"].is_string(), "{m}");
        }
        let cells = measurements.iter().filter(|m| m["summary"] == "covariance");
        let sizes: Vec<_> = cells
            .map(|m| (m["rows"].as_u64().unwrap(), m["columns"].as_u64().unwrap()))
            .collect();
        assert_eq!(sizes, [(10, 1), (1000, 1), (10, 4), (1000, 4)]);
        assert_eq!(
            (bench["decisions"].as_array().unwrap().len(), &bench["gpu"]),
            (0, &Value::Null)
        );
    }

    #[test]
    fn a_table_on_standard_output_and_json_in_a_file() {
        let place = Place::new();
        let args = "bench --quick --backends cpu --summaries moments2,quantiles -o bench.json";
        let outcome = place.run(&args.split(' ').collect::<Vec<_>>());
        assert_eq!(outcome.status, 0, "{}", outcome.stderr);
        let lines: Vec<&str> = outcome.text().lines().filter(|l| l.starts_with("moments2 ")).collect();
        assert_eq!(lines.len(), 2, "{}", outcome.text());
        let bench = json(&std::fs::read(place.path("bench.json")).unwrap());
        assert_eq!(bench["measurements"].as_array().unwrap().len(), 4);
    }

    #[test]
    fn what_cannot_be_measured_is_refused() {
        let place = Place::new();
        let run = |args: &str| place.run(&args.split(' ').collect::<Vec<_>>());
        run("bench --rows 0").fails(2, &["whole number"]);
        run("bench --rows 1.5").fails(2, &["1.5"]);
        run("bench --rows 1000 --columns 8 --max-values 10").fails(2, &["--max-values"]);
        run("bench --seconds -1").fails(2, &[]);
        run("bench --seconds NaN").fails(2, &["--seconds"]);
        run("bench --summaries modes").fails(2, &["modes"]);
        run("bench --quick --rows 10").fails(2, &["--quick"]);
        run("bench --quick --backends cpu -o no/such.json").fails(74, &["no/such.json"]);
        assert_eq!(place.names(), [""; 0]);
    }
}
