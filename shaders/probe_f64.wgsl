// A sum, a product and a quotient of f64: to be those of IEEE 754.

@group(0) @binding(0) var<storage, read> pairs: array<vec2<f64>>;
@group(0) @binding(1) var<storage, read_write> found: array<vec4<f64>>;
@group(0) @binding(2) var<uniform> zero: vec4<u32>;

@compute @workgroup_size(64)
fn probe(@builtin(global_invocation_id) id: vec3<u32>) {
    let p = pairs[id.x];
    found[id.x] = vec4<f64>(p.x + p.y, p.x * p.y, p.x / p.y, f64(zero.x));
}
