//! What an adapter can do, as one value. Shader variants, kernel choices, the autotuner's cache key and `nc-core info` all
//! derive from it, so that a test can say "as if subgroups varied" and get every form that such an adapter would get.

use std::fmt;

use super::{GpuError, quirks};

/// What an adapter can do, as far as it matters to kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Capabilities {
    /// The API.
    pub backend: wgpu::Backend,
    /// Whether it runs on the CPU: there, barriers and workgroup memory are expensive, and large register tiles win.
    pub cpu: bool,
    /// Subgroup sizes, or `None` if kernels must not use subgroup operations.
    pub subgroups: Option<Subgroups>,
    /// Bytes of workgroup memory.
    pub workgroup_memory: u32,
    /// The most invocations per workgroup.
    pub invocations: u32,
    /// Whether shaders may use `f16`.
    pub f16: bool,
    /// Whether shaders may use 64-bit integers.
    pub int64: bool,
    /// Tile shapes of the matrix units.
    pub matrices: MatrixShapes,
    /// Whether `exp` is too inaccurate for the golden bars, as on lavapipe: a property of the driver that stays when other
    /// capabilities are forced.
    pub coarse_exp: bool,
    /// Whether the driver has instructions for dot products of packed 8-bit integers. Otherwise naga emulates them.
    pub integer_dot: bool,
    /// The most iterations of all loops of an invocation together; `u32::MAX` if the driver does not count. A property of
    /// the driver, like `coarse_exp`.
    pub loop_turns: u32,
}

/// The bounds of the subgroup size. If they differ, the driver picks a size for each pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Subgroups {
    /// The fewest lanes.
    pub least: u32,
    /// The most lanes.
    pub most: u32,
}

/// Square matrix tiles with 16-bit inputs that naga can express (`coop_mat8x8`, `coop_mat16x16`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MatrixShapes {
    /// 8 × 8 × 8 with f32 sums.
    pub eight: bool,
    /// 16 × 16 × 16 with f32 sums.
    pub sixteen: bool,
}

/// WebGPU's default limits, which every adapter supports.
const DEFAULT_WORKGROUP_MEMORY: u32 = 16 << 10;
const DEFAULT_INVOCATIONS: u32 = 256;

impl Capabilities {
    /// What every adapter has: WebGPU's default limits, no optional feature, not a CPU.
    pub const LEAST: Capabilities = Capabilities {
        backend: wgpu::Backend::Vulkan,
        cpu: false,
        subgroups: None,
        workgroup_memory: DEFAULT_WORKGROUP_MEMORY,
        invocations: DEFAULT_INVOCATIONS,
        f16: false,
        int64: false,
        matrices: MatrixShapes { eight: false, sixteen: false },
        coarse_exp: false,
        integer_dot: false,
        loop_turns: u32::MAX,
    };

    /// What `adapter` can do when it is opened with `features`.
    pub(super) fn of(adapter: &wgpu::Adapter, features: wgpu::Features) -> Self {
        let (info, limits) = (adapter.get_info(), adapter.limits());
        let sizes = Subgroups { least: info.subgroup_min_size.max(1), most: info.subgroup_max_size.max(1) };
        Self {
            backend: info.backend,
            cpu: info.device_type == wgpu::DeviceType::Cpu,
            subgroups: features.contains(wgpu::Features::SUBGROUP).then_some(sizes),
            workgroup_memory: limits.max_compute_workgroup_storage_size,
            invocations: limits.max_compute_invocations_per_workgroup,
            f16: features.contains(wgpu::Features::SHADER_F16),
            int64: features.contains(wgpu::Features::SHADER_INT64),
            matrices: MatrixShapes::of(adapter),
            coarse_exp: info.device_type == wgpu::DeviceType::Cpu,
            integer_dot: integer_dot(adapter),
            loop_turns: quirks::loop_turns(&info),
        }
    }

    /// The subgroup size, if it is fixed.
    pub fn fixed_subgroup(&self) -> Option<u32> {
        self.subgroups.filter(|sizes| sizes.least == sizes.most).map(|sizes| sizes.least)
    }

    /// The fixed subgroup size of a CPU adapter, on which one subgroup is a workgroup: there kernels take the forms
    /// without barriers and workgroup memory.
    pub fn cpu_subgroup(&self) -> Option<u32> {
        self.fixed_subgroup().filter(|_| self.cpu)
    }

    /// Lanes of the workgroup that handles one row of `work` loads: one subgroup on a CPU adapter; elsewhere a power of two
    /// that leaves each lane a few iterations and no subgroup half empty.
    pub fn row_lanes(&self, work: usize) -> u32 {
        let mut choices = self.row_lane_choices().peekable();
        loop {
            match (choices.next(), choices.peek()) {
                (Some(lanes), Some(_)) if work > TURNS * lanes as usize => {}
                (lanes, _) => break lanes.unwrap_or(LEAST_ROW_LANES),
            }
        }
    }

    /// Every possible result of [`row_lanes`](Self::row_lanes).
    pub fn row_lane_choices(&self) -> impl Iterator<Item = u32> + use<> {
        let (least, most) = match self.cpu_subgroup() {
            Some(lanes) => (lanes, lanes),
            None => (self.subgroups.map_or(LEAST_ROW_LANES, |sizes| sizes.least.clamp(LEAST_ROW_LANES, 64)), MOST_ROW_LANES),
        };
        std::iter::successors(Some(least), move |lanes| (lanes * 2 <= most).then_some(lanes * 2))
    }

    /// The same adapter, restricted to the capabilities of `forced`.
    pub fn forced(mut self, forced: Forced) -> Self {
        self.cpu = forced == Forced::Cpu;
        match forced {
            Forced::Gpu => {}
            Forced::Cpu => self.int64 = false,
            Forced::GpuVarying => {
                self.subgroups = self.subgroups.map(|sizes| Subgroups { least: sizes.least.min(4), most: sizes.most.max(128) });
            }
            Forced::GpuNoSubgroups => {
                self.subgroups = None;
                self.matrices = MatrixShapes::default();
            }
        }
        self
    }

    /// A word for every difference that can change which kernel is best: part of the autotuner's cache key.
    pub fn key(&self) -> String {
        let subgroups = match self.subgroups {
            None => "no subgroups".to_owned(),
            Some(Subgroups { least, most }) => format!("subgroups {least}-{most}"),
        };
        let Self { backend, cpu, workgroup_memory, invocations, f16, int64, matrices, integer_dot, .. } = self;
        let has = |flag: bool, word: &'static str| if flag { word } else { "" };
        format!(
            "{backend:?}{} {subgroups} memory {workgroup_memory} invocations {invocations}{}{}{}{}{}",
            has(*cpu, " cpu"),
            has(*f16, " f16"),
            has(*int64, " int64"),
            has(matrices.eight, " matrices 8"),
            has(matrices.sixteen, " matrices 16"),
            has(*integer_dot, " dot4"),
        )
    }
}

/// The most iterations of a lane over a row before a workgroup gets more lanes.
const TURNS: usize = 4;
/// The fewest lanes per row on a GPU: no common subgroup is larger, except GCN's.
const LEAST_ROW_LANES: u32 = 32;
/// The most lanes per row: what every adapter supports per workgroup.
const MOST_ROW_LANES: u32 = DEFAULT_INVOCATIONS;

impl MatrixShapes {
    fn of(adapter: &wgpu::Adapter) -> Self {
        use wgpu::CooperativeScalarType::{F16, F32};
        let all = adapter.cooperative_matrix_properties();
        let has = |side: u32| {
            all.iter().any(|tile| [tile.m_size, tile.n_size, tile.k_size] == [side; 3] && tile.ab_type == F16 && tile.cr_type == F32)
        };
        Self { eight: has(8), sixteen: has(16) }
    }

    /// The sides of the tiles, in ascending order.
    pub fn sides(self) -> impl Iterator<Item = u32> {
        [(self.eight, 8), (self.sixteen, 16)].into_iter().filter_map(|(has, side)| has.then_some(side))
    }
}

impl fmt::Display for Subgroups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.least == self.most { write!(f, "{}", self.least) } else { write!(f, "{} to {}", self.least, self.most) }
    }
}

/// Whether the driver has dot products of packed bytes. Only Vulkan reports it.
#[cfg(not(target_vendor = "apple"))]
fn integer_dot(adapter: &wgpu::Adapter) -> bool {
    const SINCE: u32 = (1 << 22) | (3 << 12);
    // SAFETY: this only queries the adapter, which outlives the queries.
    unsafe {
        let Some(adapter) = adapter.as_hal::<wgpu::hal::api::Vulkan>() else {
            return false;
        };
        let (instance, device) = (adapter.shared_instance().raw_instance(), adapter.raw_physical_device());
        let core = instance.get_physical_device_properties(device).api_version >= SINCE;
        let named = |extension: &[std::ffi::c_char]| {
            c"VK_KHR_shader_integer_dot_product".to_bytes_with_nul().iter().zip(extension).all(|(&want, &have)| want == have as u8)
        };
        core || instance.enumerate_device_extension_properties(device).is_ok_and(|all| all.iter().any(|one| named(&one.extension_name)))
    }
}

#[cfg(target_vendor = "apple")]
fn integer_dot(_adapter: &wgpu::Adapter) -> bool {
    false
}

/// Capabilities to emulate, so that every form runs on any machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forced {
    /// A GPU with the adapter's own subgroups.
    Gpu,
    /// A GPU whose driver may pick any subgroup size.
    GpuVarying,
    /// A GPU without subgroup operations.
    GpuNoSubgroups,
    /// A CPU adapter without 64-bit integers.
    Cpu,
}

impl Forced {
    /// The environment variable that forces capabilities.
    pub const VARIABLE: &str = "NC_CAPABILITIES";

    /// All of them.
    pub const ALL: [Forced; 4] = [Forced::Gpu, Forced::GpuVarying, Forced::GpuNoSubgroups, Forced::Cpu];

    /// The value that [`VARIABLE`](Self::VARIABLE) has for it.
    pub fn name(self) -> &'static str {
        match self {
            Forced::Gpu => "gpu",
            Forced::GpuVarying => "gpu-varying",
            Forced::GpuNoSubgroups => "gpu-no-subgroups",
            Forced::Cpu => "cpu",
        }
    }

    /// What [`VARIABLE`](Self::VARIABLE) requests; `None` if it is unset or empty.
    pub fn from_environment() -> Result<Option<Self>, GpuError> {
        match std::env::var_os(Self::VARIABLE) {
            Some(value) if !value.is_empty() => {
                let known = Self::ALL.into_iter().find(|forced| value.to_str() == Some(forced.name()));
                known.map(Some).ok_or_else(|| GpuError::UnknownCapabilities { value: value.to_string_lossy().into_owned() })
            }
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(cpu: bool, least: u32, most: u32) -> Capabilities {
        Capabilities { cpu, subgroups: (most > 0).then_some(Subgroups { least, most }), ..Capabilities::LEAST }
    }

    #[test]
    fn lanes_of_a_row_fill_whole_subgroups() {
        assert_eq!(
            [1, 32, 64, 128, 129, 192, 512, 16_384].map(|work| with(false, 8, 32).row_lanes(work)),
            [32, 32, 32, 32, 64, 64, 128, 256]
        );
        assert_eq!([1, 192, 16_384].map(|work| with(false, 0, 0).row_lanes(work)), [32, 64, 256]);
        assert_eq!([1, 192, 16_384].map(|work| with(false, 64, 64).row_lanes(work)), [64, 64, 256]);
        assert_eq!([1, 192, 16_384].map(|work| with(true, 8, 8).row_lanes(work)), [8; 3]);
        for capabilities in [with(false, 4, 128), with(false, 0, 0), with(true, 16, 16), with(true, 4, 8)] {
            let choices: Vec<u32> = capabilities.row_lane_choices().collect();
            assert!((1..20_000).all(|work| choices.contains(&capabilities.row_lanes(work))));
        }
    }

    #[test]
    fn forcing_never_grants_what_is_not_there() {
        for sizes in [(0, 0), (8, 8), (32, 64)] {
            let have = with(true, sizes.0, sizes.1);
            for forced in Forced::ALL {
                let got = have.forced(forced);
                assert_eq!(got.cpu, forced == Forced::Cpu);
                assert!(
                    got.subgroups.is_none_or(|got| have.subgroups.is_some_and(|have| got.least <= have.least && got.most >= have.most))
                );
            }
            assert_eq!(have.forced(Forced::GpuNoSubgroups).subgroups, None);
            assert_eq!(have.forced(Forced::GpuVarying).fixed_subgroup(), None);
        }
    }

    #[test]
    fn keys_tell_capabilities_apart() {
        let have = Capabilities { matrices: MatrixShapes { eight: true, sixteen: false }, f16: true, ..with(true, 8, 8) };
        let keys: std::collections::BTreeSet<String> = Forced::ALL.into_iter().map(|forced| have.forced(forced).key()).collect();
        assert_eq!(keys.len(), Forced::ALL.len());
    }
}
