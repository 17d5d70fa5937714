//! Every kernel on several shapes, on all cores.
//!
//! `cargo bench --bench kernels [-- FILTER]`. A case whose answer is wrong is not timed.

mod cases;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// Values a case: 64 MiB of `f64`, beyond the caches.
const VALUES: usize = 8 << 20;

fn kernels(criterion: &mut Criterion) {
    for mut case in cases::all(VALUES, "") {
        let (group, name) = case.name.split_once('/').unwrap_or(("", &case.name));
        let (group, name) = (group.to_owned(), name.to_owned());
        case.verify().expect("a right answer");
        let mut group = criterion.benchmark_group(group);
        group.sample_size(10).throughput(Throughput::Elements(case.values));
        group.bench_function(name, |bencher| bencher.iter(&mut case.run));
        group.finish();
    }
}

criterion_group!(benches, kernels);
criterion_main!(benches);
