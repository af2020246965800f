//! WGSL to what wgpu would hand to a driver: SPIR-V for Vulkan, HLSL for DirectX 12.
//!
//! wgpu-hal keeps its options for naga to itself, so they are repeated here (wgpu-hal 30.0.1: `vulkan/adapter.rs`,
//! `vulkan/device.rs`, `dx12/device.rs`), with the runtime checks that nc-core asks for in `gpu/device.rs`.

use naga::back::{hlsl, spv};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ModuleInfo, ShaderStages, SubgroupOperationSet, ValidationFlags, Validator};
use naga::{AddressSpace, Module, ShaderStage};

/// A variant's text, parsed and validated, with one entry point.
pub struct Parsed {
    module: Module,
    info: ModuleInfo,
    entry: String,
}

/// A buffer that an entry point uses.
#[derive(Clone, Copy, Debug)]
pub struct Binding {
    /// Its number in group 0.
    pub number: u32,
    /// Whether it is a uniform buffer rather than a storage buffer.
    pub uniform: bool,
}

impl Parsed {
    /// Parses and validates `text`.
    pub fn new(text: &str, entry: &str) -> Result<Self, String> {
        let module = naga::front::wgsl::parse_str(text).map_err(|error| error.emit_to_string(text))?;
        let info = Validator::new(ValidationFlags::all(), Capabilities::all())
            .subgroup_stages(ShaderStages::COMPUTE)
            .subgroup_operations(SubgroupOperationSet::all())
            .validate(&module)
            .map_err(|error| error.emit_to_string(text))?;
        let stage = Some((ShaderStage::Compute, entry));
        let (module, info) = naga::back::pipeline_constants::process_overrides(&module, &info, stage, &Default::default())
            .map_err(|error| error.to_string())?;
        Ok(Self { module: module.into_owned(), info: info.into_owned(), entry: entry.to_owned() })
    }

    /// The buffers that the entry point uses.
    pub fn bindings(&self) -> Vec<Binding> {
        let index = self.module.entry_points.iter().position(|entry| entry.name == self.entry).expect("process_overrides kept it");
        let used = self.info.get_entry_point(index);
        let buffer = |(handle, variable): (naga::Handle<naga::GlobalVariable>, &naga::GlobalVariable)| {
            let binding = variable.binding?;
            (!used[handle].is_empty()).then_some(Binding { number: binding.binding, uniform: variable.space == AddressSpace::Uniform })
        };
        self.module.global_variables.iter().filter_map(buffer).collect()
    }

    /// SPIR-V as for a driver of Vulkan 1.3 or later. Where it promises that buffers are robust, naga leaves their bounds to
    /// it; indices into workgroup memory and registers it clamps always.
    pub fn spirv(&self, robust_buffers: bool) -> Result<Vec<u32>, String> {
        let unless = |robust: bool| if robust { BoundsCheckPolicy::Unchecked } else { BoundsCheckPolicy::Restrict };
        let options = spv::Options {
            lang_version: (1, 6),
            flags: spv::WriterFlags::LABEL_VARYINGS | spv::WriterFlags::FORCE_POINT_SIZE,
            fake_missing_bindings: true,
            // `None` allows all; what a shader does not use leaves no trace in it.
            capabilities: None,
            bounds_check_policies: BoundsCheckPolicies {
                index: BoundsCheckPolicy::Restrict,
                buffer: unless(robust_buffers),
                image_load: unless(true),
                binding_array: unless(true),
            },
            zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
            force_loop_bounding: false,
            ..Default::default()
        };
        let pipeline = spv::PipelineOptions { shader_stage: ShaderStage::Compute, entry_point: self.entry.clone() };
        spv::write_vec(&self.module, &self.info, &options, Some(&pipeline)).map_err(|error| format!("SPIR-V: {error}"))
    }

    /// HLSL, and the name that the entry point has in it.
    pub fn hlsl(&self, model: hlsl::ShaderModel) -> Result<(String, String), String> {
        let entry = self.module.entry_points.iter().find(|entry| entry.name == self.entry).expect("process_overrides kept it");
        let structure = |argument: &naga::FunctionArgument| matches!(self.module.types[argument.ty].inner, naga::TypeInner::Struct { .. });
        if entry.function.arguments.iter().any(structure) {
            return Err("HLSL: built-in values in a structure, where naga takes the workgroup's number for the number of workgroups".into());
        }
        let options = hlsl::Options {
            shader_model: model,
            fake_missing_bindings: true,
            // Where wgpu-hal puts the number of workgroups.
            special_constants_binding: Some(hlsl::BindTarget { space: 255, ..Default::default() }),
            zero_initialize_workgroup_memory: false,
            restrict_indexing: true,
            force_loop_bounding: false,
            ..Default::default()
        };
        let pipeline = hlsl::PipelineOptions { entry_point: Some((ShaderStage::Compute, self.entry.clone())) };
        let mut text = String::new();
        let reflection = hlsl::Writer::new(&mut text, &options, &pipeline)
            .write(&self.module, &self.info, None)
            .map_err(|error| format!("HLSL: {error}"))?;
        match reflection.entry_point_names.into_iter().next() {
            Some(Ok(name)) => Ok((text, name)),
            Some(Err(error)) => Err(format!("HLSL: {error}")),
            None => Err("HLSL: no entry point was written".to_owned()),
        }
    }
}
