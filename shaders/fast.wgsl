// Numbers of the precision `fast`: f32, summed in short runs; the runs go into sums that keep what rounding takes.
//
// A compiler that may reassociate deletes the error term of a two-sum. It cannot see through an exclusive or with a
// number that is 0 only at run time.

alias Real = f32;
alias Real4 = vec4<f32>;

// An unevaluated pair: the sum, and what rounding took from it.
struct Sum {
    high: f32,
    low: f32,
}

// Four sums side by side.
struct Sum4 {
    high: vec4<f32>,
    low: vec4<f32>,
}

fn real4(x: Element4) -> Real4 {
    return x;
}

fn hold(x: f32) -> f32 {
    return bitcast<f32>(bitcast<u32>(x) ^ params.zero);
}

fn hold4(x: vec4<f32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(bitcast<vec4<u32>>(x) ^ vec4<u32>(params.zero));
}

// Two-sum (Knuth, The Art of Computer Programming, volume 2, section 4.2.2, theorem B).
fn sum_add(a: Sum, x: Real) -> Sum {
    let total = hold(a.high + x);
    let added = hold(total - a.high);
    let error = hold(a.high - hold(total - added)) + hold(x - added);
    return Sum(total, a.low + error);
}

fn sum_merge(a: Sum, b: Sum) -> Sum {
    let both = sum_add(a, b.high);
    return Sum(both.high, both.low + b.low);
}

fn sum4_add(a: Sum4, x: Real4) -> Sum4 {
    let total = hold4(a.high + x);
    let added = hold4(total - a.high);
    let error = hold4(a.high - hold4(total - added)) + hold4(x - added);
    return Sum4(total, a.low + error);
}

fn sum4_value(a: Sum4) -> Real4 {
    return a.high + a.low;
}

fn sum4_part(a: Sum4, i: u32) -> Sum {
    return Sum(a.high[i], a.low[i]);
}
