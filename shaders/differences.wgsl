// Differences of adjacent rows, per second where rows have times: mean, extremes and the sum of squares around the mean.
//
// One workgroup takes a column of a leaf and goes over it twice, the second time around the mean of the first.

struct Difference {
    // Of the column, in groups of four values.
    first: u32,
    rows: u32,
    // Of the seconds since the row before, 0 where time does not advance, among the weights; or NO_SPANS where rows have
    // no times.
    spans: u32,
    // Differences.
    count: u32,
}

struct Found {
    pivot: Real,
    s1: Real,
    s2: Real,
    least: Real,
    greatest: Real,
}

@group(0) @binding(1) var<storage, read> items: array<Difference>;
@group(0) @binding(6) var<storage, read> weights: array<Real>;
@group(0) @binding(7) var<storage, read_write> out: array<Found>;

const NO_SPANS: u32 = 0xffffffffu;
const LANES: u32 = 256u;

var<workgroup> lanes: array<Found, 256>;

fn value(at: u32, row: u32) -> Real {
    return real4(data[at + row / 4u])[row % 4u];
}

@compute @workgroup_size(256)
fn differences(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    for (var k = group.x; k < params.items; k += params.groups) {
        let item = items[k];
        var pivot = Real();
        for (var round = 0u; round < 2u; round++) {
            var found = Found(pivot, Real(), Real(), GREATEST, -GREATEST);
            for (var row = lane + 1u; row < item.rows; row += LANES) {
                var x = value(item.first, row) - value(item.first, row - 1u);
                if (item.spans != NO_SPANS) {
                    let span = weights[item.spans + row];
                    if (span == Real()) {
                        continue;
                    }
                    x /= span;
                }
                found.s1 += x - pivot;
                found.s2 += (x - pivot) * (x - pivot);
                found.least = min(found.least, x);
                found.greatest = max(found.greatest, x);
            }
            lanes[lane] = found;
            workgroupBarrier();
            for (var width = LANES / 2u; width > 0u; width /= 2u) {
                if (lane < width) {
                    let other = lanes[lane + width];
                    found.s1 += other.s1;
                    found.s2 += other.s2;
                    found.least = min(found.least, other.least);
                    found.greatest = max(found.greatest, other.greatest);
                    lanes[lane] = found;
                }
                workgroupBarrier();
            }
            let whole = lanes[0];
            workgroupBarrier();
            if (round == 0u) {
                pivot = whole.s1 / Real(item.count);
            } else if (lane == 0u) {
                out[k] = whole;
            }
        }
    }
}
