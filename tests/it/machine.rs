//! Costs that are measured and kept, the choice of a backend by them, and what the command says where there is no GPU.

use millstream::machine::{Cache, Request, Wanted, measure, select};
use millstream::planner::{Costs, CpuCosts, Load, Part, Planner, Side, Table, Tables, Workload};
use millstream::summary::Shape;
use millstream::{Cpu, Error, Precision};
use std::path::PathBuf;
use tempfile::TempDir;

/// Costs of a processor that takes so long for everything.
fn costs(seconds: f64) -> CpuCosts {
    CpuCosts {
        threads: Cpu::new().threads(),
        instruction_set: "made up".into(),
        read_bytes_per_s: 1e12,
        seconds: Tables::new(Part::ALL.map(|part| Table::new(part, [(1, vec![(1, seconds)])]))),
    }
}

fn files(directory: &TempDir) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory.path()).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn what_is_kept_comes_back_and_what_is_damaged_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::at(directory.path().join("new"));
    let load = |cache: &Cache| cache.load::<CpuCosts>("a cpu", CpuCosts::are_sound);
    assert_eq!(load(&cache), None);
    cache.store("a cpu", &costs(1.0)).unwrap();
    assert_eq!(load(&cache), Some(costs(1.0)));
    assert_eq!(cache.load::<CpuCosts>("another", CpuCosts::are_sound), None);
    assert_eq!(load(&Cache::none()), None);
    Cache::none().store("a cpu", &costs(1.0)).unwrap();
    let kept = std::fs::read_dir(directory.path().join("new")).unwrap();
    let path = kept.map(|entry| entry.unwrap().path()).next().unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert!(path.to_str().unwrap().contains(version), "{}", path.display());
    let changed = |from: &str, to: &str| {
        assert!(text.contains(from), "{text:?} lacks {from:?}");
        text.replacen(from, to, 1)
    };
    for damaged in [
        String::new(),
        text[..text.len() / 2].to_owned(),
        changed(version, "0.0.1"),
        changed("a cpu", "b cpu"),
        changed("millstream.costs/1", "millstream.costs/2"),
        changed("\"threads\":", "\"strands\":"),
        // Costs that cannot be costs.
        changed("1000000000000.0", "-1.0"),
        changed("1000000000000.0", "0"),
        changed("[[1,1.0]]", "[[1,1.0],[1,2.0]]"),
        changed("[[1,1.0]]", "[[2,1.0],[4,0.5]]"),
        " ".repeat(5 << 20) + &text,
    ] {
        std::fs::write(&path, &damaged).unwrap();
        assert_eq!(load(&cache), None, "{}", &damaged[..damaged.len().min(200)]);
    }
    // It is measured again, and then it is whole.
    cache.store("a cpu", &costs(2.0)).unwrap();
    assert_eq!(load(&cache), Some(costs(2.0)));
    // A directory where the file should be is no costs either, and nothing can be kept there.
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert_eq!(load(&cache), None);
    assert!(matches!(cache.store("a cpu", &costs(2.0)), Err(Error::Output { .. })));
}

#[test]
fn the_cpu_is_measured_once_and_a_cache_that_cannot_be_written_is_a_note() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::at(directory.path());
    let mut notes = Vec::new();
    let first = measure::cpu_costs(&cache, false, &mut notes).unwrap();
    assert!(first.are_sound() && notes.is_empty(), "{notes:?}");
    assert_eq!(files(&directory).len(), 1);
    // Equal in every bit: it was read, not measured.
    assert_eq!(measure::cpu_costs(&cache, false, &mut notes).unwrap(), first);
    assert_eq!(measure::cpu_costs_known(&cache), Some(first.clone()));
    // More rows take no less, whatever the clock said; the estimates are those of the table at its points.
    for table in first.seconds.iter() {
        for curve in &table.curves {
            assert!(curve.points.windows(2).all(|w| w[0].1 <= w[1].1), "{table:?}");
        }
    }
    let planner = Planner::new(Costs {
        cpu: first.clone(),
        gpu: None,
    });
    let shape = Shape {
        columns: 8,
        ..Shape::default()
    };
    let of = |rows| planner.choose(&shape, Load::streamed(rows)).cpu_seconds.unwrap();
    let table = first.seconds.part(Part::Moments4).unwrap();
    assert_eq!(of(4096), table.seconds(4096, 8).unwrap());
    assert!(of(1) > 0.0 && of(1_000_000_000) > of(1_000_000));
    // A file where the directory should be: measured all the same.
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let measured = measure::cpu_costs(&Cache::at(&file), false, &mut notes).unwrap();
    assert!(measured.are_sound());
    assert!(notes.len() == 1 && notes[0].contains("not kept"), "{notes:?}");
}

fn workload(rows: Option<u64>, grouped: bool) -> Workload {
    let shape = Shape {
        columns: 8,
        ..Shape::default()
    };
    Workload {
        shape,
        rows,
        grouped,
        fit: None,
    }
}

#[test]
fn nobody_looks_where_the_cpu_is_done_before_a_device_is_found() {
    // With costs in the cache by which the CPU is always quick enough, the answer is there without a look.
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::at(directory.path());
    let quick = {
        let mut costs = costs(1e-9);
        costs.seconds = Tables::new(Part::ALL.map(|part| Table::new(part, [(8, vec![(1 << 40, 1e-3)])])));
        costs
    };
    let mut notes = Vec::new();
    let measured = measure::cpu_costs(&cache, false, &mut notes).unwrap();
    let path = files(&directory).pop().unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let kept = serde_json::to_string(&measured).unwrap();
    assert!(text.contains(&kept));
    std::fs::write(&path, text.replace(&kept, &serde_json::to_string(&quick).unwrap())).unwrap();
    let request = Request::default();
    for (workload, estimated) in [
        (None, false),
        (Some(workload(None, false)), false),
        (Some(workload(Some(1 << 40), true)), false),
        (Some(workload(Some(1000), false)), false),
        (Some(workload(Some(1 << 30), false)), true),
    ] {
        let selection = select(&request, &cache, workload.as_ref()).unwrap();
        assert_eq!(selection.backend.name(), "cpu", "{workload:?}");
        assert_eq!(selection.precision, Precision::Exact);
        assert_eq!(selection.choice.is_some(), estimated, "{workload:?}");
        assert!(
            selection
                .choice
                .is_none_or(|c| c.backend == Side::Cpu && c.gpu_seconds.is_none())
        );
        assert_eq!(selection.notes, [""; 0]);
    }
}

#[test]
fn the_cpu_by_name_is_the_cpu() {
    for precision in [None, Some(Precision::Exact), Some(Precision::Fast)] {
        let request = Request {
            wanted: Wanted::Cpu,
            precision,
            software: true,
        };
        let selection = select(&request, &Cache::none(), Some(&workload(Some(1 << 40), false))).unwrap();
        assert_eq!(selection.backend.name(), "cpu");
        assert_eq!(selection.precision, precision.unwrap_or_default());
    }
}

#[cfg(feature = "cli")]
mod command {
    use crate::command::{Outcome, Place};
    use serde_json::Value;

    /// Runs the command where Vulkan finds no driver.
    fn without_adapter(place: &Place, args: &str) -> Outcome {
        let output = place
            .command(&args.split(' ').collect::<Vec<_>>())
            .env("VK_DRIVER_FILES", "/nonexistent")
            .env("VK_ICD_FILENAMES", "/nonexistent")
            .env("MILLSTREAM_CACHE", place.path("cache"))
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!stderr.contains("panicked"), "{stderr}");
        Outcome {
            status: output.status.code().unwrap(),
            stdout: output.stdout,
            stderr,
        }
    }

    /// About 1.6 MB, which the CPU is done with before anyone could look for a GPU.
    fn table(place: &Place) {
        let rows: String = (0..100_000).map(|i| format!("{i}.5,{}.25\n", i % 97)).collect();
        place.write("table.csv", format!("a,b\n{rows}"));
    }

    #[cfg(not(any(target_os = "macos", windows)))]
    #[test]
    fn an_adapter_that_is_asked_for_by_name_and_not_there() {
        let place = Place::new();
        table(&place);
        let parts = ["GPU", "--backend cpu"];
        for args in [
            "analyze table.csv --backend gpu",
            "analyze table.csv --backend gpu --precision exact",
            "analyze table.csv --backend gpu --software-adapter",
            "bench --quick --backends cpu,gpu",
        ] {
            without_adapter(&place, args).fails(1, &parts);
        }
        // What does not insist on one goes on, and says so where somebody might wonder.
        let outcome = without_adapter(&place, "analyze table.csv --format json");
        assert_eq!(
            (outcome.json()["backend"].as_str(), outcome.stderr.as_str()),
            (Some("cpu"), "")
        );
        let outcome = without_adapter(&place, "bench --rows 10 --columns 1 --seconds 0 --format json");
        assert!(outcome.stderr.contains("only the CPU"), "{}", outcome.stderr);
        assert_eq!(outcome.json()["gpu"], Value::Null);
    }

    #[cfg(feature = "gpu")]
    #[test]
    fn the_adapter_that_is_asked_for_gives_the_same_answer() {
        use crate::gpu_agreement::{gpu, options};
        use millstream::Precision;
        let Some(there) = gpu(options(Precision::Exact)) else {
            return;
        };
        let name = there.adapter().name.clone();
        drop(there);
        let place = Place::new();
        table(&place);
        let report = |backend: &str| {
            let args =
                format!("analyze table.csv --stats moments,covariance,quantiles --format json --backend {backend}");
            place.run(&args.split(' ').collect::<Vec<_>>()).json()
        };
        let cpu = report("cpu");
        for (precision, allowed) in [("exact", 1e-11), ("fast", 1e-5)] {
            let found = report(&format!("gpu --software-adapter --precision {precision}"));
            assert_eq!(
                (&found["backend"], &found["precision"]),
                (&"gpu".into(), &precision.into())
            );
            assert!(found["device"].as_str().unwrap().contains(&name), "{}", found["device"]);
            for column in ["a", "b"] {
                let at = |report: &Value, what: &str| report["groups"][0]["columns"][column][what].as_f64().unwrap();
                for exact in ["count", "missing", "min", "max"] {
                    assert_eq!(at(&found, exact), at(&cpu, exact), "{column} {exact}");
                }
                for close in ["mean", "variance", "kurtosis"] {
                    let error = (at(&found, close) / at(&cpu, close) - 1.0).abs();
                    assert!(error <= allowed, "{precision} {column} {close}: {error:e}");
                }
            }
            let at = |report: &Value| report["groups"][0]["covariance"]["matrix"][0][1].as_f64().unwrap();
            let spread = |column: &str| cpu["groups"][0]["columns"][column]["std"].as_f64().unwrap();
            let error = (at(&found) - at(&cpu)).abs() / (spread("a") * spread("b"));
            assert!(error <= allowed, "{precision}: {error:e}");
        }
    }

    #[cfg(not(any(target_os = "macos", windows)))]
    #[test]
    fn devices_say_what_there_is_and_what_was_measured() {
        let place = Place::new();
        let outcome = without_adapter(&place, "devices --format json");
        let first = outcome.json();
        assert_eq!(first["schema"], "millstream.devices/1");
        assert_eq!(first["adapters"], Value::Array(Vec::new()));
        assert!(outcome.stderr.contains("no GPU"), "{}", outcome.stderr);
        let costs = &first["cpu_costs"];
        assert!(costs["read_bytes_per_s"].as_f64().unwrap() > 1e6, "{costs}");
        let parts: Vec<_> = costs["seconds"]
            .as_array()
            .unwrap()
            .iter()
            .map(|t| t["part"].clone())
            .collect();
        for part in [
            "moments2",
            "moments4",
            "covariance",
            "regression",
            "differences",
            "quantiles",
        ] {
            assert!(parts.contains(&part.into()), "{parts:?} lacks {part}");
        }
        // Known by now: the same numbers.
        assert_eq!(
            &without_adapter(&place, "devices --format json").json()["cpu_costs"],
            costs
        );
        let table = without_adapter(&place, "devices");
        assert!(
            table.text().contains("moments2") && table.text().contains("no GPU adapter"),
            "{}",
            table.text()
        );
        // A cache that cannot be written is a note.
        place.write("blocked", "");
        let outcome = place
            .command(&["devices"])
            .env("VK_DRIVER_FILES", "/nonexistent")
            .env("MILLSTREAM_CACHE", place.path("blocked"))
            .output()
            .unwrap();
        let stderr = String::from_utf8(outcome.stderr).unwrap();
        assert!(outcome.status.success() && stderr.contains("not kept"), "{stderr}");
    }

    #[test]
    fn wrong_usage_of_devices() {
        let place = Place::new();
        place.run(&["devices", "--format", "csv"]).fails(2, &["csv"]);
        place.run(&["devices", "extra"]).fails(2, &["extra"]);
    }
}
