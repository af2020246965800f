//! What runs here must also build on a Mac and on Windows.

use nc_core::bench::peak;
use nc_core::gpu::{Capabilities, MatrixShapes, Subgroups};
use nc_core::kernels;

/// Every variant, for adapters with subgroups of each size in use, of sizes that vary and without any, passes naga and
/// translates.
#[test]
fn every_shader_variant_translates_to_spirv_msl_and_hlsl() {
    let mut failures = Vec::new();
    let sizes = [(4, 4), (8, 8), (16, 16), (32, 32), (64, 64), (4, 64), (8, 32), (32, 64)];
    let sizes = sizes.map(|(least, most)| Some(Subgroups { least, most })).into_iter().chain([None]);
    // Forms depend on workgroup memory, too: in turn what every adapter has and what most have.
    for (subgroups, workgroup_memory) in sizes.zip([16 << 10, 32 << 10].into_iter().cycle()) {
        // Only forms for CPUs read words in pairs.
        for (cpu, int64) in [(false, false), (true, false), (true, true)] {
            let capabilities = Capabilities { subgroups, cpu, int64, workgroup_memory, ..Capabilities::LEAST };
            let variants = kernels::variants(capabilities);
            assert!(variants.len() > 50, "only {} variants", variants.len());
            failures.extend(variants.iter().filter_map(|variant| variant.translate(capabilities).err()).map(|error| error.to_string()));
        }
    }
    assert!(failures.is_empty(), "{} variants fail:\n{}", failures.len(), failures.join("\n"));
}

/// So does what measures the roof, matrix units to SPIR-V and MSL only.
#[test]
fn every_peak_translates() {
    let matrices = MatrixShapes { eight: true, sixteen: true };
    for (cpu, f16) in [(false, true), (true, true), (false, false)] {
        let subgroups = Some(Subgroups { least: 32, most: 64 });
        let capabilities =
            Capabilities { cpu, f16, subgroups, matrices: if f16 { matrices } else { Default::default() }, ..Capabilities::LEAST };
        let variants = peak::variants(capabilities);
        assert_eq!(variants.len(), if f16 { 6 } else { 3 });
        for variant in variants {
            variant.translate(capabilities).unwrap_or_else(|error| panic!("{error}"));
        }
    }
}
