//! Validation of shader text, and its translation to SPIR-V, MSL and HLSL, without a device: what runs here must also
//! build on a Mac and on Windows.

use naga::valid::{self, ModuleInfo, ShaderStages, SubgroupOperationSet, ValidationFlags, Validator};
use naga::{Module, ShaderStage, back};

use super::{Capabilities, Variant};

/// A variant that some backend rejects.
#[derive(Debug, thiserror::Error)]
#[error("{variant} for {capabilities:?}: {stage}: {reason}")]
pub struct TranslationError {
    /// The variant's key.
    pub variant: String,
    /// The capabilities that it was rendered for.
    pub capabilities: Capabilities,
    /// Which step rejected it: rendering, parsing, validation, or a backend.
    pub stage: &'static str,
    /// The message of that step.
    pub reason: String,
}

impl Variant {
    /// Renders, parses and validates the variant for `capabilities`, and translates it to SPIR-V, MSL and HLSL.
    pub fn translate(&self, capabilities: Capabilities) -> Result<(), TranslationError> {
        let refused = |stage, reason| TranslationError { variant: self.key(), capabilities, stage, reason };
        let (module, info) = self.validated(capabilities)?;
        spirv(&module, &info, self.entry).map_err(|reason| refused("SPIR-V", reason))?;
        metal(&module, &info, self.entry).map_err(|reason| refused("MSL", reason))?;
        // wgpu has matrix units on Vulkan and Metal only, and naga panics on them here.
        if module.types.iter().any(|(_, ty)| matches!(ty.inner, naga::TypeInner::CooperativeMatrix { .. })) {
            return Ok(());
        }
        direct_x(&module, &info, self.entry).map_err(|reason| refused("HLSL", reason))
    }

    /// Renders, parses and validates the variant for `capabilities`; checks that the module has its entry point.
    pub(super) fn validated(&self, capabilities: Capabilities) -> Result<(Module, ModuleInfo), TranslationError> {
        let refused = |stage, reason| TranslationError { variant: self.key(), capabilities, stage, reason };
        let text = self.render(capabilities).map_err(|error| refused("rendering", format!("{error:#}")))?;
        let module = naga::front::wgsl::parse_str(&text).map_err(|error| refused("parsing", error.emit_to_string(&text)))?;
        let info = Validator::new(ValidationFlags::all(), valid::Capabilities::all())
            .subgroup_stages(ShaderStages::COMPUTE)
            .subgroup_operations(SubgroupOperationSet::all())
            .validate(&module)
            .map_err(|error| refused("validation", error.emit_to_string(&text)))?;
        if !module.entry_points.iter().any(|entry| entry.name == self.entry) {
            return Err(refused("validation", format!("there is no entry point {}", self.entry)));
        }
        Ok((module, info))
    }
}

fn spirv(module: &Module, info: &ModuleInfo, entry: &str) -> Result<(), String> {
    let options = back::spv::Options { lang_version: (1, 3), ..Default::default() };
    let pipeline = back::spv::PipelineOptions { shader_stage: ShaderStage::Compute, entry_point: entry.to_owned() };
    back::spv::write_vec(module, info, &options, Some(&pipeline)).map(drop).map_err(|error| error.to_string())
}

fn metal(module: &Module, info: &ModuleInfo, entry: &str) -> Result<(), String> {
    let options = back::msl::Options { lang_version: (2, 4), fake_missing_bindings: true, ..Default::default() };
    let pipeline = back::msl::PipelineOptions { entry_point: Some((ShaderStage::Compute, entry.to_owned())), ..Default::default() };
    back::msl::write_string(module, info, &options, &pipeline).map(drop).map_err(|error| error.to_string())
}

fn direct_x(module: &Module, info: &ModuleInfo, entry: &str) -> Result<(), String> {
    // naga 30.0.1 writes the workgroup's number for the number of workgroups if that is a member of a structure.
    let entry_point = module.entry_points.iter().find(|point| point.name == entry);
    let structure = |argument: &naga::FunctionArgument| matches!(module.types[argument.ty].inner, naga::TypeInner::Struct { .. });
    if entry_point.is_some_and(|point| point.function.arguments.iter().any(structure)) {
        return Err("an entry point takes built-in values in a structure".to_owned());
    }
    let options = back::hlsl::Options { shader_model: back::hlsl::ShaderModel::V6_2, fake_missing_bindings: true, ..Default::default() };
    let pipeline = back::hlsl::PipelineOptions { entry_point: Some((ShaderStage::Compute, entry.to_owned())) };
    let mut text = String::new();
    back::hlsl::Writer::new(&mut text, &options, &pipeline).write(module, info, None).map(drop).map_err(|error| error.to_string())
}
