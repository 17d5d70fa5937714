// Products of deviations: tiles of the upper triangle of DᵀD, split over runs of rows, and the runs added up in order.
//
// `tiles` gives each of 256 threads 4 × 4 products of a tile of 64 × 64 columns; `small_tiles` one product of a tile of
// 16 × 16, for few columns. Both bring a step of rows into workgroup memory first, transposed. A thread adds up eight
// rows at a time (two chains, which hide the latency of a multiply-add) before they go into a sum.

struct Tile {
    // Of the first column of the run, in groups of four values.
    first: u32,
    // From one column to the next.
    stride: u32,
    // Groups of four rows.
    count: u32,
    // Columns of the matrix.
    columns: u32,
    // Of the first column of the run.
    pivots: u32,
    // The first of the matrix's places.
    places: u32,
    mask: u32,
    // Row of tiles, and column of tiles << 16.
    tile: u32,
    // Where the products go in `partial`.
    to: u32,
}

@group(0) @binding(1) var<storage, read> items: array<Tile>;
@group(0) @binding(8) var<storage, read_write> partial: array<Sum>;

const SIDE: u32 = 64u;
const STEP: u32 = 16u;
var<workgroup> left: array<Real, 1024>;
var<workgroup> right: array<Real, 1024>;

// Deviations of column `i` of the matrix in one group of four rows, 0 beyond the ends.
fn four_rows(item: Tile, i: u32, quad: u32) -> Real4 {
    if (i >= item.columns || quad >= item.count) {
        return Real4();
    }
    let place = places[item.places + i];
    return masked(deviations(item.first + place * item.stride + quad, pivots[item.pivots + place]), item.mask, quad);
}

fn left4(at: u32) -> Real4 {
    return Real4(left[at], left[at + 1u], left[at + 2u], left[at + 3u]);
}

fn right4(at: u32) -> Real4 {
    return Real4(right[at], right[at + 1u], right[at + 2u], right[at + 3u]);
}

@compute @workgroup_size(256)
fn tiles(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let x = (lane % 16u) * 4u;
    let y = (lane / 16u) * 4u;
    // Four lanes bring the sixteen rows of a column.
    let column = lane / 4u;
    let row = (lane % 4u) * 4u;
    for (var k = group.x; k < params.items; k += params.groups) {
        let item = items[k];
        let left_first = (item.tile & 0xffffu) * SIDE;
        let right_first = (item.tile >> 16u) * SIDE;
        var sum0 = Sum4();
        var sum1 = Sum4();
        var sum2 = Sum4();
        var sum3 = Sum4();
        for (var step = 0u; step < item.count; step += STEP / 4u) {
            let a = four_rows(item, left_first + column, step + lane % 4u);
            let b = four_rows(item, right_first + column, step + lane % 4u);
            left[row * SIDE + column] = a.x;
            left[(row + 1u) * SIDE + column] = a.y;
            left[(row + 2u) * SIDE + column] = a.z;
            left[(row + 3u) * SIDE + column] = a.w;
            right[row * SIDE + column] = b.x;
            right[(row + 1u) * SIDE + column] = b.y;
            right[(row + 2u) * SIDE + column] = b.z;
            right[(row + 3u) * SIDE + column] = b.w;
            workgroupBarrier();
            var even0 = Real4();
            var even1 = Real4();
            var even2 = Real4();
            var even3 = Real4();
            var odd0 = Real4();
            var odd1 = Real4();
            var odd2 = Real4();
            var odd3 = Real4();
            for (var r = 0u; r < STEP; r += 2u) {
                let p = left4(r * SIDE + y);
                let q = right4(r * SIDE + x);
                even0 += p.x * q;
                even1 += p.y * q;
                even2 += p.z * q;
                even3 += p.w * q;
                let s = left4((r + 1u) * SIDE + y);
                let t = right4((r + 1u) * SIDE + x);
                odd0 += s.x * t;
                odd1 += s.y * t;
                odd2 += s.z * t;
                odd3 += s.w * t;
            }
            sum0 = sum4_add(sum0, even0 + odd0);
            sum1 = sum4_add(sum1, even1 + odd1);
            sum2 = sum4_add(sum2, even2 + odd2);
            sum3 = sum4_add(sum3, even3 + odd3);
            workgroupBarrier();
        }
        for (var i = 0u; i < 4u; i++) {
            partial[item.to + y * SIDE + x + i] = sum4_part(sum0, i);
            partial[item.to + (y + 1u) * SIDE + x + i] = sum4_part(sum1, i);
            partial[item.to + (y + 2u) * SIDE + x + i] = sum4_part(sum2, i);
            partial[item.to + (y + 3u) * SIDE + x + i] = sum4_part(sum3, i);
        }
    }
}

const SMALL_SIDE: u32 = 16u;
const SMALL_STEP: u32 = 64u;

@compute @workgroup_size(256)
fn small_tiles(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let x = lane % SMALL_SIDE;
    let y = lane / SMALL_SIDE;
    // Sixteen lanes bring the 64 rows of a column.
    let row = x * 4u;
    for (var k = group.x; k < params.items; k += params.groups) {
        let item = items[k];
        let left_first = (item.tile & 0xffffu) * SMALL_SIDE;
        let right_first = (item.tile >> 16u) * SMALL_SIDE;
        var sum = Sum();
        for (var step = 0u; step < item.count; step += SMALL_STEP / 4u) {
            let a = four_rows(item, left_first + y, step + x);
            let b = four_rows(item, right_first + y, step + x);
            left[row * SMALL_SIDE + y] = a.x;
            left[(row + 1u) * SMALL_SIDE + y] = a.y;
            left[(row + 2u) * SMALL_SIDE + y] = a.z;
            left[(row + 3u) * SMALL_SIDE + y] = a.w;
            right[row * SMALL_SIDE + y] = b.x;
            right[(row + 1u) * SMALL_SIDE + y] = b.y;
            right[(row + 2u) * SMALL_SIDE + y] = b.z;
            right[(row + 3u) * SMALL_SIDE + y] = b.w;
            workgroupBarrier();
            for (var r = 0u; r < SMALL_STEP; r += 8u) {
                var run = Real();
                for (var i = r; i < r + 8u; i++) {
                    run += left[i * SMALL_SIDE + y] * right[i * SMALL_SIDE + x];
                }
                sum = sum_add(sum, run);
            }
            workgroupBarrier();
        }
        partial[item.to + lane] = sum;
    }
}
