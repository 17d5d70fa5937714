//! Choices over costs that are made up, with estimates worked out by hand, and laws that hold for any costs.

use super::*;
use crate::summary::{LossShape, Model};
use proptest::prelude::*;

fn flat(part: Part, seconds_per_unit: f64, fixed: f64) -> Table {
    // Dense enough that what lies between the points is the sum of the two within a few percent.
    let rows = (0..=24).map(|k| 1u64 << k);
    let curve = |columns: usize| {
        let at = |n: u64| (n, fixed + n as f64 * part.units(columns) * seconds_per_unit);
        (columns, rows.clone().map(at).collect())
    };
    Table::new(part, [1, 2, 4, 8, 16, 32, 64, 128, 256].map(curve))
}

fn tables(seconds_per_unit: f64, fixed: f64) -> Tables {
    Tables::new(Part::ALL.map(|part| flat(part, seconds_per_unit, fixed)))
}

fn cpu() -> CpuCosts {
    CpuCosts {
        threads: 2,
        instruction_set: "portable".into(),
        read_bytes_per_s: 1e10,
        seconds: tables(1e-9, 1e-6),
    }
}

/// Ten times as quick on its own memory, no quicker over the bus, 100 µs for a work.
fn gpu() -> GpuCosts {
    GpuCosts {
        adapter: "made up".into(),
        driver: "1".into(),
        precision: "exact".into(),
        copy_bytes_per_s: 1e12,
        upload_bytes_per_s: 1e10,
        download_bytes_per_s: 1e10,
        packing_bytes_per_s: 1e10,
        submit_seconds: 1e-5,
        round_trip_seconds: 1e-4,
        open_seconds: 0.5,
        streamed: Tables::new(Part::ALL.map(|part| match part {
            Part::Moments2 | Part::Moments4 => flat(part, 2e-9, 1e-4),
            _ => flat(part, 1e-11, 1e-6),
        })),
        resident: tables(1e-10, 1e-4),
    }
}

fn planner(gpu: Option<GpuCosts>) -> Planner {
    Planner::new(Costs { cpu: cpu(), gpu })
}

fn moments(columns: usize) -> Shape {
    Shape {
        columns,
        ..Shape::default()
    }
}

fn covariance(columns: usize) -> Shape {
    Shape {
        comoments: true,
        order: Order::Second,
        ..moments(columns)
    }
}

#[test]
fn the_choice_is_the_lesser_estimate() {
    let planner = planner(Some(gpu()));
    // 8 Mi values: 8.4 ms on the CPU, 0.94 ms on the device, 16.9 ms over the bus.
    let choice = planner.choose(&moments(8), Load::streamed(1 << 20));
    assert_eq!(choice.backend, Side::Cpu);
    assert!((choice.cpu_seconds.unwrap() - 8.389_6e-3).abs() < 1e-6, "{choice:?}");
    assert!((choice.gpu_seconds.unwrap() - 16.877e-3).abs() < 1e-5, "{choice:?}");
    let choice = planner.choose(&moments(8), Load::resident(1 << 20));
    assert_eq!(choice.backend, Side::Gpu);
    assert!((choice.gpu_seconds.unwrap() - 0.938_9e-3).abs() < 1e-6, "{choice:?}");
    // Few rows: the way to the device and back is longer than the work.
    assert_eq!(planner.choose(&moments(8), Load::resident(1000)).backend, Side::Cpu);
    // 2080 products a row of 64 values: the bus is not what counts.
    let choice = planner.choose(&covariance(64), Load::streamed(1 << 16));
    assert_eq!(choice.backend, Side::Gpu);
    // Opening the device costs more than this work.
    let unopened = Load {
        opened: false,
        ..Load::streamed(1 << 16)
    };
    let later = planner.choose(&covariance(64), unopened);
    assert_eq!(later.backend, Side::Cpu);
    assert_eq!(later.gpu_seconds.unwrap(), choice.gpu_seconds.unwrap() + 0.5);
}

#[test]
fn what_overlaps_counts_once() {
    let mut gpu = gpu();
    // A device that is slower than the bus: the sum over the parts on the device is what a stream takes.
    gpu.resident = tables(1e-8, 1e-4);
    let planner = planner(Some(gpu));
    let streamed = planner.choose(&covariance(16), Load::streamed(1 << 16)).gpu_seconds;
    assert_eq!(
        streamed,
        planner.choose(&covariance(16), Load::resident(1 << 16)).gpu_seconds
    );
}

#[test]
fn memory_bounds_what_is_beyond_caches() {
    let planner = planner(None);
    let mut slow = planner.clone();
    slow.costs.cpu.read_bytes_per_s = 1e9;
    let rows = 10 << 20;
    let (quick, slow) = (
        planner.choose(&moments(8), Load::streamed(rows)).cpu_seconds.unwrap(),
        slow.choose(&moments(8), Load::streamed(rows)).cpu_seconds.unwrap(),
    );
    assert!(quick < 0.1 && (slow - 0.671_088_64).abs() < 1e-9, "{quick} {slow}");
}

#[test]
fn without_a_gpu_or_a_table_the_cpu_it_is() {
    for shape in [moments(1), covariance(4096)] {
        for rows in [0, 1, u64::MAX] {
            let choice = planner(None).choose(&shape, Load::streamed(rows));
            assert_eq!((choice.backend, choice.gpu_seconds), (Side::Cpu, None));
            assert!(choice.cpu_seconds.is_some_and(f64::is_finite));
        }
    }
    let mut lacking = gpu();
    lacking.streamed = Tables::new([flat(Part::Moments2, 1e-12, 1e-9)]);
    let choice = planner(Some(lacking)).choose(&covariance(64), Load::streamed(1 << 20));
    assert_eq!((choice.backend, choice.gpu_seconds), (Side::Cpu, None));
    let mut unmeasured = planner(Some(gpu()));
    unmeasured.costs.cpu.seconds = Tables::default();
    let choice = unmeasured.choose(&covariance(64), Load::streamed(1 << 20));
    assert_eq!((choice.backend, choice.cpu_seconds), (Side::Cpu, None));
}

#[test]
fn a_table_is_exact_at_its_points_and_for_powers_between() {
    let table = Table::new(
        Part::Covariance,
        [
            (16, vec![(1000, 4e-3), (10, 4e-5)]),
            (4, vec![(10, 1e-6), (1000, 1e-4), (500, f64::NAN)]),
        ],
    );
    let close = |a: Option<f64>, b: f64| (a.unwrap() / b - 1.0).abs() < 1e-12;
    assert!(close(table.seconds(10, 4), 1e-6) && close(table.seconds(1000, 16), 4e-3));
    assert!(close(table.seconds(100, 4), 1e-5), "{:?}", table.seconds(100, 4));
    // 40 times as much for 4 times the columns: the square root of it for twice.
    assert!(close(table.seconds(10, 8), 1e-6 * 40f64.sqrt()));
    // Outside: what there is at the edge below, in proportion above.
    assert!(close(table.seconds(1, 4), 1e-6) && close(table.seconds(1, 1), 1e-6));
    assert!(close(table.seconds(5000, 4), 5e-4));
    assert!(close(table.seconds(1000, 32), 4e-3 * 528.0 / 136.0));
    assert_eq!(table.seconds(0, 4), Some(0.0));
    assert_eq!(Table::new(Part::Loss, []).seconds(1, 1), None);
    assert_eq!(Table::new(Part::Loss, [(4, vec![(0, 1.0)])]).seconds(1, 1), None);
}

#[test]
fn a_disturbed_point_disturbs_no_other() {
    let table = Table::new(
        Part::Loss,
        [(1, vec![(1, 9.0), (10, 2.0), (100, 3.0), (1000, 2.5), (10_000, 4.0)])],
    );
    let seconds: Vec<f64> = table.curves[0].points.iter().map(|(_, seconds)| *seconds).collect();
    assert_eq!(seconds, [2.0, 2.0, 2.5, 2.5, 4.0]);
}

#[test]
fn shapes_have_parts() {
    let shape = Shape {
        columns: 3,
        comoments: true,
        regression: vec![0, 4],
        exact: true,
        quantiles: true,
        loss: Some(LossShape {
            model: Model::Linear,
            terms: vec![0, 1],
            target: 2,
            intercept: true,
        }),
        ..Shape::default()
    };
    let parts = [
        (Part::Moments4, 3),
        (Part::Covariance, 3),
        (Part::Regression, 2),
        (Part::Quantiles, 3),
        (Part::Loss, 3),
    ];
    assert_eq!(Part::of(&shape), parts);
    let workload = Workload {
        shape,
        rows: None,
        grouped: false,
        fit: None,
    };
    let fast = Part::of(&workload.in_precision(Precision::Fast).shape);
    assert_eq!(fast[2], (Part::Covariance, 2));
}

/// One pass is the CPU's; what a fit asks again and again of rows that are there by then is the GPU's.
#[test]
fn a_fit_is_worth_bringing_rows_over() {
    const ROWS: u64 = 1 << 20;
    let loss = Shape {
        loss: Some(LossShape {
            model: Model::Logistic,
            terms: vec![0, 1, 2],
            target: 3,
            intercept: true,
        }),
        ..Shape::default()
    };
    let plain = Workload {
        shape: moments(4),
        rows: Some(ROWS),
        grouped: false,
        fit: None,
    };
    let fit = Workload {
        fit: Some(loss.clone()),
        ..plain.clone()
    };
    let all = planner(Some(gpu()));
    let load = Load::streamed(ROWS);
    assert_eq!(all.choose_run(&plain, load), all.choose(&moments(4), load));
    assert_eq!(all.choose_run(&plain, load).backend, Side::Cpu);
    let choice = all.choose_run(&fit, load);
    assert_eq!(choice.backend, Side::Gpu);
    // A pass of 4 columns at 1 ns a value (or 2), the same to bring them over, 20 losses at 1 ns (or 0.1).
    let unit = 4.0 * ROWS as f64 * 1e-9;
    let near = |found: Option<f64>, want: f64| assert!((found.unwrap() / want - 1.0).abs() < 0.05, "{found:?} {want}");
    near(choice.cpu_seconds, 21.0 * unit);
    near(choice.gpu_seconds, (2.0 + 2.0 + 20.0 * 0.1) * unit + 22.0 * 1e-4);
    assert!(run_seconds_at_most(&fit, ROWS) > run_seconds_at_most(&plain, ROWS));
    // Without a GPU, or with one that was never measured for losses, the CPU.
    assert_eq!(planner(None).choose_run(&fit, load).backend, Side::Cpu);
    let mut unknown = gpu();
    unknown.resident.0.retain(|table| table.part != Part::Loss);
    let choice = planner(Some(unknown)).choose_run(&fit, load);
    assert_eq!((choice.backend, choice.gpu_seconds), (Side::Cpu, None));
}

#[test]
fn soundness_sees_what_cannot_be() {
    assert!(cpu().are_sound() && gpu().are_sound());
    let damage: [fn(&mut GpuCosts); 6] = [
        |c| c.upload_bytes_per_s = f64::NAN,
        |c| c.open_seconds = -1.0,
        |c| c.resident = Tables::default(),
        |c| c.resident.0[0].curves[0].points[3].1 = f64::INFINITY,
        |c| c.resident.0[0].curves[0].points.swap(1, 2),
        |c| c.streamed.0[0].curves.swap(0, 1),
    ];
    for (i, damage) in damage.iter().enumerate() {
        let mut costs = gpu();
        damage(&mut costs);
        assert!(!costs.are_sound(), "{i}");
    }
    let mut costs = cpu();
    costs.read_bytes_per_s = 0.0;
    assert!(!costs.are_sound());
}

#[test]
fn the_bound_grows_with_the_work() {
    let bound = |shape: &Shape, rows| cpu_seconds_at_most(shape, rows);
    assert_eq!(bound(&moments(8), 0), 0.0);
    assert!(bound(&moments(8), 1000) < bound(&moments(8), 1001));
    assert!(bound(&moments(8), 1000) < bound(&covariance(8), 1000));
    assert!(bound(&covariance(4096), u64::MAX).is_finite());
}

/// Points of any kind, sorted or not.
fn points() -> impl Strategy<Value = Vec<(u64, f64)>> {
    let seconds = prop_oneof![8 => 1e-9..10.0, 1 => Just(0.0), 1 => Just(f64::NAN), 1 => Just(-1.0)];
    prop::collection::vec((1u64..1 << 40, seconds), 1..6)
}

fn any_table(part: Part) -> impl Strategy<Value = Table> {
    prop::collection::vec((1usize..5000, points()), 1..4).prop_map(move |curves| Table::new(part, curves))
}

fn any_tables() -> impl Strategy<Value = Tables> {
    (any_table(Part::Moments4), any_table(Part::Covariance)).prop_map(|(a, b)| Tables::new([a, b]))
}

proptest! {
    #[test]
    fn estimates_are_numbers_and_never_fall_with_rows(
        cpu_tables in any_tables(),
        streamed in any_tables(),
        resident in any_tables(),
        columns in 1usize..10_000,
        fewer in 0u64..1 << 50,
        more in 0u64..1 << 50,
        on_device: bool,
        opened: bool,
    ) {
        let costs = Costs {
            cpu: CpuCosts { seconds: cpu_tables, ..cpu() },
            gpu: Some(GpuCosts { streamed, resident, ..gpu() }),
        };
        let planner = Planner::new(costs);
        let shape = Shape { comoments: true, ..moments(columns) };
        let load = |rows| Load { rows, resident: on_device, opened };
        let (few, many) = (planner.choose(&shape, load(fewer)), planner.choose(&shape, load(fewer + more)));
        for choice in [few, many] {
            for seconds in [choice.cpu_seconds, choice.gpu_seconds].into_iter().flatten() {
                prop_assert!(seconds.is_finite() && seconds >= 0.0, "{choice:?}");
            }
            let lesser = match (choice.cpu_seconds, choice.gpu_seconds) {
                (Some(cpu), Some(gpu)) if gpu < cpu => Side::Gpu,
                _ => Side::Cpu,
            };
            prop_assert_eq!(choice.backend, lesser);
        }
        let falls = |a: Option<f64>, b: Option<f64>| a.zip(b).is_some_and(|(a, b)| b < a * (1.0 - 1e-12));
        prop_assert!(!falls(few.cpu_seconds, many.cpu_seconds), "{few:?} {many:?}");
        prop_assert!(!falls(few.gpu_seconds, many.gpu_seconds), "{few:?} {many:?}");
        // The same question, the same answer.
        prop_assert_eq!(planner.choose(&shape, load(fewer)), few);
    }

    #[test]
    fn what_is_written_reads_back(tables in any_tables()) {
        let costs = CpuCosts { seconds: tables, ..cpu() };
        let text = serde_json::to_string(&costs).unwrap();
        prop_assert_eq!(serde_json::from_str::<CpuCosts>(&text).unwrap(), costs);
    }
}
