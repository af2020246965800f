#!/usr/bin/env bash
# Mesa 26.1.6's lavapipe with 16 lanes on a CPU without AVX-512: WGSL's round() takes ties away from zero, with 8 lanes to even.
#
# WGSL says that round(0.5) is 0 and round(2.5) is 2: ties go to the even number, and SPIR-V has RoundEven for that. The CPU decides by
# default how many lanes a subgroup of lavapipe has, and LP_NATIVE_VECTOR_WIDTH changes it, which is how one tests kernels for
# subgroups of 16. Where vectors are wider than the CPU's own, the driver has no rounding instruction for them and seems to fall back to code
# that takes ties away from zero: round(0.5) becomes 1 and round(2.5) becomes 3. So results depend on the number of lanes, and packing to
# 16 bits or quantising by round() is not to nearest even. Adding and subtracting 2^23, or rounding the bits as integers, is.
#
# Seen with mesa-vulkan-drivers 26.1.6-1~bpo13+1 (Debian 13 backports, amd64) and wgpu-py 0.32.0 (PyPI) on a CPU with AVX2 alone:
#      8 lanes: round(0.5) = 0, round(1.5) = 2, round(2.5) = 2, round(-0.5) = 0, round(-2.5) = -2
#     16 lanes: round(0.5) = 1, round(1.5) = 2, round(2.5) = 3, round(-0.5) = -1, round(-2.5) = -3
#
# Unpacks the driver and its dependencies in a temporary folder; nothing is installed. Needs Debian on amd64, python3-venv, and a CPU
# without AVX-512. Exits 0 while this is so, 1 when it has changed, 2 where it cannot be tried.
set -euo pipefail

if grep -q -m 1 avx512f /proc/cpuinfo; then
    echo 'this CPU has AVX-512, which rounds 16 lanes itself'
    exit 2
fi

driver=26.1.6-1~bpo13+1
keys=/usr/share/keyrings/debian-archive-keyring.gpg
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/python"
"$work/python/bin/pip" install --quiet --disable-pip-version-check wgpu==0.32.0

mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial" "$work/root"
: >"$work/status"
# shellcheck disable=SC2016 # apt, not the shell, fills REPO_URI in
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Component: main' | grep -E '/debian/?$' | head -n 1)
printf "deb [signed-by=$keys] $mirror %s main\n" trixie trixie-backports >"$work/sources.list"
# The empty status makes every dependency count as missing, down to libc.
apt=(apt-get -qq -o APT::Sandbox::User=root -o APT::Install-Recommends=false -o Dir::Etc::SourceList="$work/sources.list"
    -o Dir::Etc::SourceParts=/dev/null -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null -o Dir::State="$work/state"
    -o Dir::State::status="$work/status" -o Dir::Cache="$work/cache" -o Acquire::Languages=none)
"${apt[@]}" update
"${apt[@]}" -t trixie-backports --yes --download-only install "mesa-vulkan-drivers=$driver" libvulkan1
for package in "$work"/cache/archives/*.deb; do dpkg-deb -x "$package" "$work/root"; done
library=$(find "$work/root" -name libvulkan_lvp.so -type f | head -n 1)
loader=$(find "$work/root" -name 'ld-linux-x86-64.so.2' -type f | head -n 1)
sed -E "s|\"library_path\": *\"[^\"]*\"|\"library_path\": \"$library\"|" "$work"/root/usr/share/vulkan/icd.d/lvp_icd*.json >"$work/lvp.json"

cat >"$work/ties.py" <<'PYTHON'
import array
import sys
import wgpu
from wgpu.utils.compute import compute_with_buffers

SHADER = """
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) i: u32) {
    y[i] = round(x[i]);
}
"""
TIES = [0.5, 1.5, 2.5, -0.5, -2.5]

adapter = wgpu.gpu.request_adapter_sync(power_preference="high-performance")
print(adapter.info["device"], "|", adapter.info["description"])
values = array.array("f", (TIES * 13)[:64])
out = compute_with_buffers({0: memoryview(values).cast("B")}, {1: (64, "f")}, SHADER, n=1)
rounded = [out[1][i] for i in range(len(TIES))]
print(", ".join(f"round({tie:g}) = {got:g}" for tie, got in zip(TIES, rounded)))
even = [0.0, 2.0, 2.0, 0.0, -2.0]
away = [1.0, 2.0, 3.0, -1.0, -3.0]
sys.exit({"even": 0 if rounded == even else 1, "away": 0 if rounded == away else 1}[sys.argv[1]])
PYTHON

export VK_DRIVER_FILES="$work/lvp.json" VK_ICD_FILENAMES="$work/lvp.json"
rounds() {
    LP_NATIVE_VECTOR_WIDTH=$1 "$loader" --library-path "$(dirname "$library"):$(dirname "$loader")" "$(readlink -f "$work/python/bin/python")" \
        "$work/ties.py" "$2"
}
PYTHONPATH=$(echo "$work"/python/lib/python3*/site-packages)
export PYTHONPATH
if rounds 256 even && rounds 512 away; then
    echo 'as described: 8 lanes round ties to even, 16 away from zero'
else
    echo 'changed: both round alike, or differently from what is described'
    exit 1
fi
