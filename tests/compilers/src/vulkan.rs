//! A Vulkan device, opened as wgpu opens it, whose pipelines say what the compiler made of them.

use std::ffi::{CStr, CString, c_char};

use ash::khr::pipeline_executable_properties;
use ash::vk;
use wgpu::hal::vulkan as hal;

use crate::assembly;
use crate::gpus::Compiler;
use crate::stats::Stats;
use crate::translate::Binding;

/// A driver of one GPU.
pub struct Driver {
    device: ash::Device,
    executables: pipeline_executable_properties::Device,
    compiler: Compiler,
    rdna: bool,
    robust_buffers: bool,
    varying_subgroups: bool,
    // The device lives as long as this.
    _open: wgpu::hal::OpenDevice<wgpu::hal::api::Vulkan>,
}

impl Driver {
    /// Opens the device of nc-core's adapter once more, with the same features, and asks for statistics.
    pub fn open(gpu: &nc_core::gpu::Gpu, compiler: Compiler) -> Result<Self, String> {
        // SAFETY: the adapter outlives all calls; the extension is enabled only where the driver has it, and nothing is taken
        // away from what wgpu asks for.
        unsafe {
            let adapter = gpu.adapter().as_hal::<wgpu::hal::api::Vulkan>().ok_or("the adapter is not one of Vulkan")?;
            let (instance, physical) = (adapter.shared_instance().raw_instance(), adapter.raw_physical_device());
            let extensions = instance.enumerate_device_extension_properties(physical).map_err(|error| error.to_string())?;
            let has = |name: &CStr| extensions.iter().any(|one| one.extension_name_as_c_str() == Ok(name));
            if !has(pipeline_executable_properties::NAME) {
                return Err("the driver has no VK_KHR_pipeline_executable_properties".to_owned());
            }
            let mut robustness = vk::PhysicalDeviceRobustness2FeaturesEXT::default();
            let mut features = vk::PhysicalDeviceFeatures2::default();
            if has(ash::ext::robustness2::NAME) {
                features = features.push_next(&mut robustness);
            }
            instance.get_physical_device_features2(physical, &mut features);
            let robust_buffers = robustness.robust_buffer_access2 == vk::TRUE;

            let mut statistics = vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default().pipeline_executable_info(true);
            let ask = |arguments: hal::CreateDeviceCallbackArgs<'_, '_, '_>| {
                arguments.extensions.push(pipeline_executable_properties::NAME);
                statistics.p_next = arguments.create_info.p_next.cast_mut();
                arguments.create_info.p_next = (&raw const statistics).cast();
            };
            let open = adapter
                .open_with_callback(gpu.features(), gpu.limits(), &wgpu::MemoryHints::Performance, Some(Box::new(ask)))
                .map_err(|error| error.to_string())?;
            let device = open.device.raw_device().clone();
            Ok(Self {
                executables: pipeline_executable_properties::Device::new(instance, &device),
                device,
                compiler,
                rdna: gpu.info().subgroup_min_size == 32,
                robust_buffers,
                varying_subgroups: gpu.features().contains(wgpu::Features::SUBGROUP),
                _open: open,
            })
        }
    }

    /// Whether the driver keeps accesses to buffers inside their bounds, so that shaders need no checks.
    pub fn robust_buffers(&self) -> bool {
        self.robust_buffers
    }

    /// Compiles `spirv` and says what became of it; the assembly too, where the driver hands it out.
    pub fn compile(&self, spirv: &[u32], entry: &str, bindings: &[Binding]) -> Result<(Stats, String), String> {
        let bindings: Vec<_> = bindings
            .iter()
            .map(|binding| {
                let kind = if binding.uniform { vk::DescriptorType::UNIFORM_BUFFER } else { vk::DescriptorType::STORAGE_BUFFER };
                vk::DescriptorSetLayoutBinding::default()
                    .binding(binding.number)
                    .descriptor_type(kind)
                    .descriptor_count(1)
                    .stage_flags(vk::ShaderStageFlags::COMPUTE)
            })
            .collect();
        let failed = |error: vk::Result| format!("the driver refuses it: {error}");
        // SAFETY: the SPIR-V comes from validated WGSL, the layout is its own, and all handles are destroyed once and last.
        unsafe {
            let device = &self.device;
            let set = device
                .create_descriptor_set_layout(&vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings), None)
                .map_err(failed)?;
            let sets = [set];
            let layout =
                device.create_pipeline_layout(&vk::PipelineLayoutCreateInfo::default().set_layouts(&sets), None).map_err(failed)?;
            let module = device.create_shader_module(&vk::ShaderModuleCreateInfo::default().code(spirv), None).map_err(failed)?;
            let name = CString::new(entry).expect("WGSL names hold no zero");
            let varying = vk::PipelineShaderStageCreateFlags::ALLOW_VARYING_SUBGROUP_SIZE;
            let stage = vk::PipelineShaderStageCreateInfo::default()
                .flags(if self.varying_subgroups { varying } else { vk::PipelineShaderStageCreateFlags::empty() })
                .stage(vk::ShaderStageFlags::COMPUTE)
                .module(module)
                .name(&name);
            let capture = vk::PipelineCreateFlags::CAPTURE_STATISTICS_KHR | vk::PipelineCreateFlags::CAPTURE_INTERNAL_REPRESENTATIONS_KHR;
            let info = vk::ComputePipelineCreateInfo::default().flags(capture).stage(stage).layout(layout);
            let made = device.create_compute_pipelines(vk::PipelineCache::null(), &[info], None);
            let answer = match made {
                Ok(pipelines) => {
                    let answer = self.ask(pipelines[0]);
                    device.destroy_pipeline(pipelines[0], None);
                    answer
                }
                Err((_, error)) => Err(failed(error)),
            };
            device.destroy_shader_module(module, None);
            device.destroy_pipeline_layout(layout, None);
            device.destroy_descriptor_set_layout(set, None);
            answer
        }
    }

    /// # Safety
    /// The pipeline must be alive, and made with statistics and representations captured.
    unsafe fn ask(&self, pipeline: vk::Pipeline) -> Result<(Stats, String), String> {
        let failed = |error: vk::Result| format!("the driver says nothing of it: {error}");
        // SAFETY: as promised; the statistics' unions are read by the format that comes with each.
        unsafe {
            let all =
                self.executables.get_pipeline_executable_properties(&vk::PipelineInfoKHR::default().pipeline(pipeline)).map_err(failed)?;
            // Where a driver compiles for several subgroup sizes, the first is the widest that it may run.
            let first = all.first().ok_or("the driver made no program of it")?;
            let executable = vk::PipelineExecutableInfoKHR::default().pipeline(pipeline).executable_index(0);
            let statistics = self.executables.get_pipeline_executable_statistics(&executable).map_err(failed)?;
            let named: Vec<(String, u64)> = statistics
                .iter()
                .map(|one| {
                    let value = match one.format {
                        vk::PipelineExecutableStatisticFormatKHR::BOOL32 => one.value.b32.into(),
                        vk::PipelineExecutableStatisticFormatKHR::INT64 => one.value.i64 as u64,
                        vk::PipelineExecutableStatisticFormatKHR::UINT64 => one.value.u64,
                        _ => one.value.f64 as u64,
                    };
                    (text(&one.name), value)
                })
                .collect();
            let assembly = self.assembly(&executable).map_err(failed)?;
            let mut stats = Stats::from_driver(self.compiler, first.subgroup_size, &named, self.rdna);
            stats.loops = assembly::nests(self.compiler, &assembly);
            Ok((stats, assembly))
        }
    }

    /// # Safety
    /// As for [`ask`](Self::ask).
    unsafe fn assembly(&self, executable: &vk::PipelineExecutableInfoKHR<'_>) -> Result<String, vk::Result> {
        let Some(wanted) = assembly::name(self.compiler) else { return Ok(String::new()) };
        let get = self.executables.fp().get_pipeline_executable_internal_representations_khr;
        // SAFETY: asked first how many there are, then how long each is, then for the bytes themselves.
        unsafe {
            let mut all = self.executables.get_pipeline_executable_internal_representations(executable)?;
            let mut texts: Vec<Vec<u8>> = all.iter().map(|one| vec![0; one.data_size]).collect();
            for (one, text) in all.iter_mut().zip(&mut texts) {
                one.p_data = text.as_mut_ptr().cast();
            }
            let mut count = all.len() as u32;
            get(self.device.handle(), executable, &mut count, all.as_mut_ptr()).result()?;
            let found = all.iter().position(|one| text(&one.name) == wanted);
            Ok(found.map(|i| String::from_utf8_lossy(&texts[i]).trim_end_matches('\0').to_owned()).unwrap_or_default())
        }
    }
}

/// A zero-terminated name of a fixed size.
fn text(name: &[c_char]) -> String {
    let bytes: Vec<u8> = name.iter().take_while(|&&c| c != 0).map(|&c| c as u8).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}
