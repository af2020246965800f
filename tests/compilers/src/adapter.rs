//! The one place that knows what nc-core asks of an adapter: its capabilities, the variants that follow, and which of
//! them it may be given.

use nc_core::gpu::{Gpu, Variant};
use nc_core::kernels;

/// What an adapter can do.
pub type Capabilities = nc_core::gpu::Target;

/// What this adapter can do.
pub fn capabilities(gpu: &Gpu) -> Capabilities {
    gpu.target()
}

/// What adapters of DirectX 12 can do: one without subgroups first (all that FXC serves), then NVIDIA's, AMD's and
/// Intel's, and WARP, the software adapter.
pub fn direct_x() -> Vec<Capabilities> {
    [(0, false), (32, false), (4, true)].map(|(subgroup, cpu)| Capabilities { subgroup, cpu }).to_vec()
}

/// Every variant that an adapter of these capabilities may be given, each once.
pub fn variants(capabilities: Capabilities) -> Vec<Variant> {
    let mut variants = kernels::variants(capabilities);
    variants.retain(|variant| may_be_given(variant, capabilities));
    variants.sort_by_key(Variant::key);
    variants.dedup_by_key(|variant| variant.key());
    variants
}

/// Register tiles without workgroup memory are for CPU adapters; no GPU chooses among them.
fn may_be_given(variant: &Variant, capabilities: Capabilities) -> bool {
    capabilities.cpu || !variant.shader.name.ends_with("_lane")
}
