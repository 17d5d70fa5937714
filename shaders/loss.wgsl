// The loss of a linear or logistic model and its gradient by the weights: one workgroup for each run of rows.
//
// The weights come in terms of deviations: where a term is x = p + d / s, the host puts w p into the weight of 1 and
// makes the weight of d w / s; it takes the gradient back in the same way. Each lane first takes four rows: z = w·d, the
// loss and its derivative by z. Then 32 lanes a column sum the products of the derivatives with the column.

struct Rows {
    // Of the first column of the run, in groups of four values.
    first: u32,
    // From one column to the next.
    stride: u32,
    // Groups of four rows, at most 256.
    count: u32,
    // Terms; the target follows them among the places.
    columns: u32,
    // Of the first column of the run.
    pivots: u32,
    places: u32,
    mask: u32,
    // The weights of the run: of 1, of each term, then the target's pivot and the inverse of its scale.
    weights: u32,
    // Where the loss goes in `partial`; the sum of the derivatives and the products of the columns follow.
    to: u32,
}

@group(0) @binding(1) var<storage, read> items: array<Rows>;
@group(0) @binding(6) var<storage, read> weights: array<Real>;
@group(0) @binding(8) var<storage, read_write> partial: array<Sum>;

override LOGISTIC: bool = false;

const LANES: u32 = 256u;
// Terms that are added up before they go into a sum.
const RUN: u32 = 8u;
// Lanes of a column.
const TEAM: u32 = 32u;

// By group of four rows: the derivatives of the loss by z.
var<workgroup> slopes: array<Real4, 256>;
var<workgroup> sums: array<Sum, 256>;

fn deviation(item: Rows, i: u32, quad: u32) -> Real4 {
    let place = places[item.places + i];
    return deviations(item.first + place * item.stride + quad, pivots[item.pivots + place]);
}

// eˣ for x ≤ 0: x = n ln 2 + r, the Taylor series of eʳ for |r| ≤ ln 2 / 2, and n halvings.
fn exponential(x: Real) -> Real {
    if (x < Real(-700.0)) {
        return Real();
    }
    let n = floor(x * Real(1.4426950408889634) + Real(0.5));
    // ln 2 in two parts, of which the first has few digits: n times it is exact.
    let r = (x - n * Real(0.693359375)) + n * Real(2.1219444005469058277e-4);
    var e = Real(1.0);
    for (var k = 13u; k > 0u; k--) {
        e = Real(1.0) + e * r / Real(k);
    }
    var factor = Real(0.5);
    for (var rest = u32(-n); rest > 0u; rest >>= 1u) {
        if ((rest & 1u) == 1u) {
            e *= factor;
        }
        factor *= factor;
    }
    return e;
}

// log(1 + e) for e in [0, 1]: twice the area tangent of s = e / (2 + e) ≤ 1/3, by its series.
fn log_of_one_and(e: Real) -> Real {
    let s = e / (Real(2.0) + e);
    let square = s * s;
    var series = Real();
    for (var k = 35u; k > 1u; k -= 2u) {
        series = (series + Real(1.0) / Real(k)) * square;
    }
    return Real(2.0) * s * (Real(1.0) + series);
}

// The sum over the lanes, which lane 0 writes.
fn total(lane: u32, own: Sum, to: u32) {
    var sum = own;
    sums[lane] = sum;
    workgroupBarrier();
    for (var width = LANES / 2u; width > 0u; width /= 2u) {
        if (lane < width) {
            sum = sum_merge(sum, sums[lane + width]);
            sums[lane] = sum;
        }
        workgroupBarrier();
    }
    if (lane == 0u) {
        partial[to] = sum;
    }
    workgroupBarrier();
}

@compute @workgroup_size(256)
fn loss(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    for (var k = group.x; k < params.items; k += params.groups) {
        let item = items[k];
        var cost = Real4();
        var slope = Real4();
        if (lane < item.count) {
            var sum = sum4_add(Sum4(), Real4(weights[item.weights]));
            for (var first = 0u; first < item.columns; first += RUN) {
                var run = Real4();
                for (var i = first; i < min(item.columns, first + RUN); i++) {
                    run += weights[item.weights + 1u + i] * deviation(item, i, lane);
                }
                sum = sum4_add(sum, run);
            }
            let z = sum4_value(sum);
            let target_at = item.weights + 1u + item.columns;
            let rest = deviation(item, item.columns, lane) * weights[target_at + 1u];
            if (LOGISTIC) {
                let y = Real4(weights[target_at]) + rest;
                for (var i = 0u; i < 4u; i++) {
                    // log(1 + eᶻ) − y z = log(1 + e^−|z|) + max(z, 0) − y z
                    let e = exponential(-abs(z[i]));
                    let p = Real(1.0) / (Real(1.0) + e);
                    if (z[i] >= Real()) {
                        cost[i] = log_of_one_and(e) + (Real(1.0) - y[i]) * z[i];
                        slope[i] = (Real(1.0) - y[i]) - e * p;
                    } else {
                        cost[i] = log_of_one_and(e) - y[i] * z[i];
                        slope[i] = e * p - y[i];
                    }
                }
            } else {
                // The host has taken the target's pivot from the weight of 1.
                slope = z - rest;
                cost = slope * slope * Real(0.5);
            }
            cost = masked(cost, item.mask, lane);
            slope = masked(slope, item.mask, lane);
        }
        slopes[lane] = slope;
        total(lane, sum_add(Sum(), across(cost)), item.to);
        total(lane, sum_add(Sum(), across(slope)), item.to + 1u);
        for (var base = 0u; base < item.columns; base += LANES / TEAM) {
            let column = base + lane / TEAM;
            var product = Real4();
            if (column < item.columns) {
                for (var quad = lane % TEAM; quad < item.count; quad += TEAM) {
                    product += slopes[quad] * deviation(item, column, quad);
                }
            }
            sums[lane] = sum_add(Sum(), across(product));
            workgroupBarrier();
            if (lane % TEAM == 0u && column < item.columns) {
                var sum = sums[lane];
                for (var other = 1u; other < TEAM; other++) {
                    sum = sum_merge(sum, sums[lane + other]);
                }
                partial[item.to + 2u + column] = sum;
            }
            workgroupBarrier();
        }
    }
}
