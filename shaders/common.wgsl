// What the kernels share: their inputs, and how a value becomes a deviation.
//
// Columns lie one after another in groups of four values, the last one filled up with the column's pivot; missing and
// infinite values are the pivot too, so that their deviation is 0. A table says which run of which column each
// workgroup takes, so that one launch serves many leaves of many works. Everything that is merged across workgroups is
// merged on the host, or by one thread in a fixed order.

struct Params {
    // 0, which the compiler does not know.
    zero: u32,
    // Entries of the table.
    items: u32,
    // Workgroups that share them.
    groups: u32,
    spare: u32,
}

// What is subtracted from the values of a column, and what the difference is multiplied by: a power of two.
struct Pivot {
    value: Real,
    scale: Real,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> pivots: array<Pivot>;
// The columns of a matrix or a model, as places among the columns of a run.
@group(0) @binding(3) var<storage, read> places: array<u32>;
// One bit a row, from the lowest of each word: whether the row is complete.
@group(0) @binding(4) var<storage, read> mask: array<u32>;
@group(0) @binding(5) var<storage, read> data: array<Element4>;

const NO_MASK: u32 = 0xffffffffu;

fn deviations(at: u32, pivot: Pivot) -> Real4 {
    return (real4(data[at]) - Real4(pivot.value)) * pivot.scale;
}

// The deviations of the incomplete among four rows become 0; `quad` counts rows by four from where the mask begins.
fn masked(x: Real4, mask_at: u32, quad: u32) -> Real4 {
    if (mask_at == NO_MASK) {
        return x;
    }
    let bits = mask[mask_at + (quad >> 3u)] >> ((quad & 7u) * 4u);
    return select(Real4(), x, (vec4<u32>(bits) & vec4<u32>(1u, 2u, 4u, 8u)) != vec4<u32>());
}

fn across(x: Real4) -> Real {
    return (x.x + x.y) + (x.z + x.w);
}
