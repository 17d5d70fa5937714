// Numbers of the precision `exact`: f64 throughout.

alias Real = f64;
alias Real4 = vec4<f64>;
// A sum, and four side by side.
alias Sum = f64;
alias Sum4 = vec4<f64>;

fn real4(x: Element4) -> Real4 {
    return Real4(Real(x.x), Real(x.y), Real(x.z), Real(x.w));
}

fn sum_add(a: Sum, x: Real) -> Sum {
    return a + x;
}

fn sum_merge(a: Sum, b: Sum) -> Sum {
    return a + b;
}

fn sum4_add(a: Sum4, x: Real4) -> Sum4 {
    return a + x;
}

fn sum4_value(a: Sum4) -> Real4 {
    return a;
}

fn sum4_part(a: Sum4, i: u32) -> Sum {
    return a[i];
}

// The greatest finite number.
const GREATEST: Real = 1.7976931348623157e308lf;
