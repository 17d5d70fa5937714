// The products of the runs of a matrix, added up in the order of the runs.

struct Fold {
    // Where the first run's products are in `partial`, and how far from one run to the next.
    first: u32,
    stride: u32,
    runs: u32,
    // Products, and where they go.
    count: u32,
    to: u32,
}

@group(0) @binding(1) var<storage, read> items: array<Fold>;
@group(0) @binding(7) var<storage, read_write> out: array<Sum>;
@group(0) @binding(8) var<storage, read_write> partial: array<Sum>;

@compute @workgroup_size(256)
fn fold(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    for (var k = group.x; k < params.items; k += params.groups) {
        let item = items[k];
        for (var i = lane; i < item.count; i += 256u) {
            var sum = partial[item.first + i];
            for (var run = 1u; run < item.runs; run++) {
                sum = sum_merge(sum, partial[item.first + run * item.stride + i]);
            }
            out[item.to + i] = sum;
        }
    }
}
