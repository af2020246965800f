//! The GPUs whose compilers judge, and how Mesa is told to believe in each.

/// One GPU, as Mesa's no-op kernels present it.
#[derive(Debug)]
pub struct Gpu {
    /// The short name that the command line and the table use.
    pub name: &'static str,
    /// What it is, for a person.
    pub title: &'static str,
    /// Whose compiler it has.
    pub compiler: Compiler,
    /// The variable that picks it, and its value.
    pub variable: (&'static str, &'static str),
}

/// A shader compiler of Mesa.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compiler {
    /// AMD's: ACO in RADV.
    Aco,
    /// NVIDIA's: NAK in NVK.
    Nak,
    /// Intel's: brw in ANV.
    Brw,
    /// Apple's: AGX in Honeykrisp.
    Agx,
    /// Qualcomm's: ir3 in Turnip.
    Ir3,
}

impl Compiler {
    /// Its name and its Vulkan driver's.
    pub fn title(self) -> &'static str {
        match self {
            Compiler::Aco => "ACO (RADV)",
            Compiler::Nak => "NAK (NVK)",
            Compiler::Brw => "brw (ANV)",
            Compiler::Agx => "AGX (Honeykrisp)",
            Compiler::Ir3 => "ir3 (Turnip)",
        }
    }

    /// The no-op kernel's library.
    pub fn shim(self) -> &'static str {
        match self {
            Compiler::Aco => "libamdgpu_noop_drm_shim.so",
            Compiler::Nak => "libnouveau_noop_drm_shim.so",
            Compiler::Brw => "libintel_noop_drm_shim.so",
            Compiler::Agx => "libasahi_noop_drm_shim.so",
            Compiler::Ir3 => "libfreedreno_noop_drm_shim.so",
        }
    }

    /// The JSON file that names the driver.
    pub fn driver(self) -> &'static str {
        match self {
            Compiler::Aco => "radeon_icd.json",
            Compiler::Nak => "nouveau_icd.json",
            Compiler::Brw => "intel_icd.json",
            Compiler::Agx => "asahi_icd.json",
            Compiler::Ir3 => "freedreno_icd.json",
        }
    }

    /// What the table's column `waves` counts here.
    pub fn waves(self) -> &'static str {
        match self {
            Compiler::Aco => "waves a SIMD",
            Compiler::Nak => "warps a multiprocessor",
            Compiler::Brw => "not said",
            Compiler::Agx => "threads a core",
            Compiler::Ir3 => "waves a core",
        }
    }
}

const fn gpu(name: &'static str, title: &'static str, compiler: Compiler, variable: &'static str, value: &'static str) -> Gpu {
    Gpu { name, title, compiler, variable: (variable, value) }
}

/// All GPUs, those first that take longest.
pub const GPUS: [Gpu; 11] = [
    gpu("dg2", "Intel Arc (DG2)", Compiler::Brw, "INTEL_STUB_GPU_PLATFORM", "dg2"),
    gpu("tgl", "Intel Tiger Lake", Compiler::Brw, "INTEL_STUB_GPU_PLATFORM", "tgl"),
    gpu("lnl", "Intel Lunar Lake", Compiler::Brw, "INTEL_STUB_GPU_PLATFORM", "lnl"),
    gpu("ampere", "NVIDIA Ampere", Compiler::Nak, "NOUVEAU_CHIPSET", "170"),
    gpu("turing", "NVIDIA Turing", Compiler::Nak, "NOUVEAU_CHIPSET", "160"),
    gpu("rdna3", "AMD RDNA 3 (Navi 31)", Compiler::Aco, "AMDGPU_GPU_ID", "navi31"),
    gpu("rdna2", "AMD RDNA 2 (Navi 21)", Compiler::Aco, "AMDGPU_GPU_ID", "navi21"),
    gpu("vega", "AMD Vega 10 (GCN, wave64)", Compiler::Aco, "AMDGPU_GPU_ID", "vega10"),
    gpu("rdna4", "AMD RDNA 4 (GFX1201)", Compiler::Aco, "AMDGPU_GPU_ID", "gfx1201"),
    gpu("m1", "Apple M1", Compiler::Agx, "ASAHI_CHIP", "m1"),
    gpu("adreno", "Qualcomm Adreno 740", Compiler::Ir3, "FD_GPU_ID", "740"),
];

/// The GPU of this name.
pub fn find(name: &str) -> Option<&'static Gpu> {
    GPUS.iter().find(|gpu| gpu.name == name)
}
