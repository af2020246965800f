//! Silent bugs of particular drivers, detected by their names and versions.

/// The number of iterations of all loops together after which the driver silently ends an invocation's loops, with wrong
/// results; `u32::MAX` if it has no such limit.
///
/// Mesa's llvmpipe, which lavapipe uses, had a limit of 65,535 until 25.0.0 («gallivm: Remove loop limiting» in the
/// notes of that release). No other driver is known to have one.
pub(super) fn loop_turns(info: &wgpu::AdapterInfo) -> u32 {
    const COUNTED: u32 = 65_535;
    const FREE: u32 = u32::MAX;
    if info.driver == "llvmpipe" {
        return if mesa_version(&info.driver_info).is_some_and(|version| version >= (25, 0)) { FREE } else { COUNTED };
    }
    // Behind a paravirtual driver the host's version matters, which the guest does not know.
    if info.name.contains("llvmpipe") { COUNTED } else { FREE }
}

/// Year and number of a release, from a text such as `Mesa 22.3.6 (LLVM 15.0.6)`. `None` for a development version, which may
/// or may not contain what the release does.
fn mesa_version(driver_info: &str) -> Option<(u32, u32)> {
    let version = driver_info.strip_prefix("Mesa ")?.split_whitespace().next()?;
    if version.ends_with("-devel") {
        return None;
    }
    let mut numbers = version.split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(name: &str, driver: &str, driver_info: &str) -> u32 {
        let info = wgpu::AdapterInfo::new(wgpu::DeviceType::Cpu, wgpu::Backend::Vulkan);
        loop_turns(&wgpu::AdapterInfo { name: name.into(), driver: driver.into(), driver_info: driver_info.into(), ..info })
    }

    #[test]
    fn llvmpipe_counts_turns_until_25_0() {
        let name = "llvmpipe (LLVM 15.0.6, 256 bits)";
        for (driver_info, want) in [
            ("Mesa 20.3.5 (LLVM 11.0.1)", 65_535),
            ("Mesa 22.3.6 (LLVM 15.0.6)", 65_535),
            ("Mesa 24.2.8-1ubuntu1~24.04.1 (LLVM 19.1.1)", 65_535),
            ("Mesa 24.3.4 (git-4ad7d8f4a2) (LLVM 19.1.7)", 65_535),
            ("Mesa 25.0.7-2+deb13u1 (LLVM 19.1.7)", u32::MAX),
            ("Mesa 25.2.0-rc2 (LLVM 20.1.8)", u32::MAX),
            ("Mesa 26.1.6-1~bpo13+1 (LLVM 19.1.7)", u32::MAX),
            ("Mesa 25.0.0-devel (git-7a8e3b1c22) (LLVM 19.1.4)", 65_535),
            ("something else", 65_535),
            ("", 65_535),
        ] {
            assert_eq!(turns(name, "llvmpipe", driver_info), want, "{driver_info}");
        }
    }

    #[test]
    fn other_drivers_let_loops_run() {
        for (name, driver, driver_info) in [
            ("AMD Radeon RX 7900 XTX (RADV NAVI31)", "radv", "Mesa 22.3.6"),
            ("Intel(R) Arc(tm) A770 Graphics (DG2)", "Intel open-source Mesa driver", "Mesa 23.1.0"),
            ("NVIDIA H200", "NVIDIA", "570.86.15"),
            ("SwiftShader Device (LLVM 10.0.0)", "SwiftShader driver", ""),
            ("Apple M1", "", ""),
            ("Microsoft Basic Render Driver", "10.0.19041.3636", ""),
        ] {
            assert_eq!(turns(name, driver, driver_info), u32::MAX, "{name}");
        }
    }

    #[test]
    fn a_host_of_unknown_version_is_taken_to_count() {
        assert_eq!(turns("Virtio-GPU Venus (llvmpipe (LLVM 19.1.7, 256 bits))", "venus", "Mesa 25.0.7"), 65_535);
    }
}
