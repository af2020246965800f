#!/usr/bin/env bash
# naga 30.0.1: in HLSL, `@builtin(num_workgroups)` silently becomes the id of the workgroup.
#
# HLSL has no semantic for the number of workgroups. A library that uses naga can name a binding for it
# (`special_constants_binding`, as wgpu does); without one, one would expect an error. naga validates the module, writes
# `SV_GroupID` for both built-ins, and exits with 0: a kernel that strides over a folded grid then reads the wrong rows. With a
# binding, an entry point that takes its built-ins in a structure still gets `SV_GroupID`; only separate arguments are replaced.
#
# Seen with naga-cli 30.0.1 (crates.io), which has no option for the binding:
#     void main(uint3 group : SV_GroupID, uint3 groups : SV_GroupID)
#
# What to do: take built-in values one by one, or hand over the number of workgroups in a uniform, and let a test look for two
# arguments of the same semantic in the translation.
# Builds naga-cli in a temporary folder: about two minutes. Exits 0 while this is so, 1 when it has changed.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
CARGO_TARGET_DIR="$work/target" cargo install --quiet --root "$work" naga-cli --version =30.0.1 --locked

cat >"$work/stride.wgsl" <<'WGSL'
@group(0) @binding(0) var<storage, read_write> y: array<u32>;

@compute @workgroup_size(1)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    y[group.x] = groups.x;
}
WGSL

"$work/bin/naga" --version
if ! "$work/bin/naga" "$work/stride.wgsl" "$work/stride.hlsl"; then
    echo 'changed: the translation is refused'
    exit 1
fi
grep -n 'void main' "$work/stride.hlsl"
if ! grep -q 'uint3 groups : SV_GroupID' "$work/stride.hlsl"; then
    echo 'changed: the number of workgroups is no longer taken for the id'
    exit 1
fi
echo 'as described: both built-ins are SV_GroupID'
