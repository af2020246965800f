//! What the kernels need from an adapter, and the rejection of one that has less.

use naga::AddressSpace;

use super::{Capabilities, GpuError, TranslationError, Variant};

/// What kernels need from an adapter: for each limit the most that any kernel needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Invocations per workgroup.
    pub invocations: u32,
    /// Bytes of workgroup memory.
    pub workgroup_bytes: u32,
    /// Storage buffers per shader.
    pub storage_buffers: u32,
}

impl Needs {
    /// What the forms for the least capable adapter need; a test compares it with every variant.
    pub const LEAST: Needs = Needs { invocations: 256, workgroup_bytes: 16_384, storage_buffers: 14 };

    /// The larger of both, field by field.
    pub fn max(self, other: Needs) -> Needs {
        Needs {
            invocations: self.invocations.max(other.invocations),
            workgroup_bytes: self.workgroup_bytes.max(other.workgroup_bytes),
            storage_buffers: self.storage_buffers.max(other.storage_buffers),
        }
    }

    /// Rejects an adapter that has less.
    ///
    /// # Errors
    /// [`GpuError::TooLittle`], with the first limit that is too low.
    pub fn check(self, adapter: &str, limits: &wgpu::Limits) -> Result<(), GpuError> {
        let parts = [
            (
                "invocations in a workgroup",
                limits.max_compute_invocations_per_workgroup.min(limits.max_compute_workgroup_size_x),
                self.invocations,
            ),
            ("bytes of workgroup memory", limits.max_compute_workgroup_storage_size, self.workgroup_bytes),
            ("storage buffers in a shader", limits.max_storage_buffers_per_shader_stage, self.storage_buffers),
        ];
        match parts.into_iter().find(|(_, has, needs)| has < needs) {
            Some((what, has, needs)) => Err(GpuError::TooLittle { adapter: adapter.to_owned(), what, has, needs }),
            None => Ok(()),
        }
    }
}

impl Variant {
    /// What this variant needs when it is rendered for `capabilities`.
    ///
    /// # Errors
    /// If it does not translate.
    pub fn needs(&self, capabilities: Capabilities) -> Result<Needs, TranslationError> {
        let (module, info) = self.validated(capabilities)?;
        let mut needs = Needs::default();
        let Some(index) = module.entry_points.iter().position(|entry| entry.name == self.entry) else {
            return Ok(needs);
        };
        let uses = info.get_entry_point(index);
        needs.invocations = module.entry_points[index].workgroup_size.iter().product();
        for (_, variable) in module.global_variables.iter().filter(|(handle, _)| !uses[*handle].is_empty()) {
            match variable.space {
                AddressSpace::Storage { .. } => needs.storage_buffers += 1,
                AddressSpace::WorkGroup => {
                    // Drivers may align each variable to 16 bytes.
                    needs.workgroup_bytes += module.types[variable.ty].inner.size(module.to_ctx()).next_multiple_of(16);
                }
                _ => {}
            }
        }
        Ok(needs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adapter_with_too_little_is_refused_with_a_sentence() {
        let enough = wgpu::Limits {
            max_compute_invocations_per_workgroup: 256,
            max_compute_workgroup_size_x: 256,
            max_compute_workgroup_storage_size: 16_384,
            max_storage_buffers_per_shader_stage: 16,
            ..wgpu::Limits::default()
        };
        let refusal = |limits: &wgpu::Limits| Needs::LEAST.check("a card", limits).unwrap_err().to_string();
        assert!(Needs::LEAST.check("a card", &enough).is_ok());
        let narrow = wgpu::Limits { max_compute_invocations_per_workgroup: 128, ..enough.clone() };
        assert_eq!(refusal(&narrow), "a card cannot run nc-core: it has 128 invocations in a workgroup, and the kernels need 256");
        let flat = wgpu::Limits { max_compute_workgroup_size_x: 128, ..enough.clone() };
        assert!(refusal(&flat).contains("128 invocations"));
        let small = wgpu::Limits { max_compute_workgroup_storage_size: 8192, ..enough.clone() };
        assert!(refusal(&small).contains("8192 bytes of workgroup memory"));
        let few = wgpu::Limits { max_storage_buffers_per_shader_stage: 8, ..enough };
        assert!(refusal(&few).contains("8 storage buffers in a shader"));
    }
}
