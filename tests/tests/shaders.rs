//! What runs here must also build on a Mac and on Windows.

use nc_core::gpu::Target;
use nc_core::kernels;

/// Every variant, for adapters with fixed subgroups of each size in use and without, passes naga and translates.
#[test]
fn every_shader_variant_translates_to_spirv_msl_and_hlsl() {
    let mut failures = Vec::new();
    for subgroup in [0, 4, 8, 16, 32, 64] {
        for cpu in [false, true] {
            let target = Target { subgroup, cpu };
            let variants = kernels::variants(target);
            assert!(variants.len() > 50, "only {} variants", variants.len());
            failures.extend(variants.iter().filter_map(|variant| variant.translate(target).err()).map(|error| error.to_string()));
        }
    }
    assert!(failures.is_empty(), "{} variants fail:\n{}", failures.len(), failures.join("\n"));
}
