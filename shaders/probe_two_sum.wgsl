// The two-sum of fast.wgsl, whose error term a compiler that reassociates deletes where the steps are not held apart.

@group(0) @binding(0) var<storage, read> pairs: array<vec2<f32>>;
@group(0) @binding(1) var<storage, read_write> found: array<vec2<f32>>;
@group(0) @binding(2) var<uniform> zero: vec4<u32>;

fn hold(x: f32) -> f32 {
    return bitcast<f32>(bitcast<u32>(x) ^ zero.x);
}

@compute @workgroup_size(64)
fn probe(@builtin(global_invocation_id) id: vec3<u32>) {
    let p = pairs[id.x];
    let total = hold(p.x + p.y);
    let added = hold(total - p.x);
    found[id.x] = vec2<f32>(total, hold(p.x - hold(total - added)) + hold(p.y - added));
}
