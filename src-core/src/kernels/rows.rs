//! What kernels with one workgroup per row share: the number of lanes along the row (`shaders/shared/rows.wgsl`).

use crate::gpu::{Capabilities, Recorder, Shader, Value, Values, Variant};

/// The template's `lanes` for rows of `work` loads per pass.
pub(super) fn lanes(rec: &Recorder, work: usize) -> (&'static str, Value) {
    ("lanes", rec.gpu().capabilities().row_lanes(work).into())
}

/// The loads per pass that [`part`] chooses lanes for.
const PART_WORK: usize = 256;

/// Lanes of a workgroup that computes one of many partial sums over a whole tensor.
pub(super) fn part_lanes(capabilities: Capabilities) -> u32 {
    capabilities.row_lanes(PART_WORK)
}

/// The template's `lanes` if a workgroup computes a partial sum.
pub(super) fn part(rec: &Recorder) -> (&'static str, Value) {
    ("lanes", part_lanes(rec.gpu().capabilities()).into())
}

/// An entry point for every number of lanes that [`lanes`] may choose.
pub(super) fn variants(
    capabilities: Capabilities,
    shader: &'static Shader,
    entry: &'static str,
    values: &[(&'static str, Value)],
) -> Vec<Variant> {
    capabilities.row_lane_choices().map(|lanes| variant(shader, entry, values, lanes)).collect()
}

/// An entry point whose workgroups compute partial sums.
pub(super) fn part_variant(capabilities: Capabilities, shader: &'static Shader, entry: &'static str) -> Variant {
    variant(shader, entry, &[], part_lanes(capabilities))
}

fn variant(shader: &'static Shader, entry: &'static str, values: &[(&'static str, Value)], lanes: u32) -> Variant {
    let values: Values = values.iter().copied().chain([("lanes", lanes.into())]).collect();
    Variant { shader, entry, values }
}
