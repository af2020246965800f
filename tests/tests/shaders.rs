//! What runs here must also build on a Mac and on Windows.

use nc_core::gpu::Target;
use nc_core::kernels;

/// Every variant, for adapters with fixed subgroups of each size in use and without, passes naga and translates.
#[test]
fn every_shader_variant_translates_to_spirv_msl_and_hlsl() {
    let variants = kernels::variants();
    assert!(!variants.is_empty());
    let mut failures = Vec::new();
    for variant in &variants {
        for subgroup in [0, 4, 8, 16, 32, 64] {
            for cpu in [false, true] {
                if let Err(error) = variant.translate(Target { subgroup, cpu }) {
                    failures.push(error.to_string());
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} of {} variants fail:\n{}", failures.len(), variants.len(), failures.join("\n"));
}
