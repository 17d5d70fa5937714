// Power sums of deviations: one workgroup for each run of a column.

struct Item {
    // In groups of four values.
    first: u32,
    count: u32,
    pivot: u32,
    // The first word of the run's mask, or NO_MASK.
    mask: u32,
}

struct Powers {
    s1: Sum,
    s2: Sum,
    s3: Sum,
    s4: Sum,
}

@group(0) @binding(1) var<storage, read> items: array<Item>;
@group(0) @binding(7) var<storage, read_write> out: array<Powers>;

// Whether skewness and kurtosis are asked for.
override FOURTH: bool = true;

const LANES: u32 = 256u;
// Groups of four that a lane adds up before they go into a sum.
const RUN: u32 = 8u;

var<workgroup> lanes: array<Powers, 256>;

@compute @workgroup_size(256)
fn moments(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    for (var k = group.x; k < params.items; k += params.groups) {
        let item = items[k];
        let pivot = pivots[item.pivot];
        var sums = Powers();
        for (var start = lane; start < item.count; start += LANES * RUN) {
            var d1 = Real4();
            var d2 = Real4();
            var d3 = Real4();
            var d4 = Real4();
            let stop = min(item.count, start + LANES * RUN);
            for (var quad = start; quad < stop; quad += LANES) {
                let d = masked(deviations(item.first + quad, pivot), item.mask, quad);
                let square = d * d;
                d1 += d;
                d2 += square;
                if (FOURTH) {
                    d3 += square * d;
                    d4 += square * square;
                }
            }
            sums.s1 = sum_add(sums.s1, across(d1));
            sums.s2 = sum_add(sums.s2, across(d2));
            if (FOURTH) {
                sums.s3 = sum_add(sums.s3, across(d3));
                sums.s4 = sum_add(sums.s4, across(d4));
            }
        }
        lanes[lane] = sums;
        workgroupBarrier();
        for (var width = LANES / 2u; width > 0u; width /= 2u) {
            if (lane < width) {
                let other = lanes[lane + width];
                sums.s1 = sum_merge(sums.s1, other.s1);
                sums.s2 = sum_merge(sums.s2, other.s2);
                sums.s3 = sum_merge(sums.s3, other.s3);
                sums.s4 = sum_merge(sums.s4, other.s4);
                lanes[lane] = sums;
            }
            workgroupBarrier();
        }
        if (lane == 0u) {
            out[k] = sums;
        }
        workgroupBarrier();
    }
}
