#!/usr/bin/env bash
# Mesa 22.3.6's lavapipe (Debian 12): a shader's loop silently ends after 65,535 iterations.
#
# A loop that counts to 100,000 ends after 65,535 iterations: no error, no validation message, and a wrong number. All loops of an
# invocation share the count, so two nested loops of 300 iterations end early as well, and a kernel that is right at a vocabulary
# of 32,768 can be wrong at 65,536. The limit kept endless shaders from hanging the machine; Mesa 25.0.0 removed it
# («gallivm: Remove loop limiting»). A test on such a driver should count iterations, not only compare small shapes.
#
# Seen with mesa-vulkan-drivers 22.3.6-1+deb12u2 (Debian 12, amd64) and wgpu-py 0.32.0 (PyPI), which bounds no loop below 2^32:
#     llvmpipe (LLVM 15.0.6, 256 bits), Mesa 22.3.6: counted to 65535 of 100000; nested: 65100 of 90000
#
# Unpacks the driver and its dependencies in a temporary folder; nothing is installed. Needs Debian 12 on amd64, python3-venv.
# Exits 0 while this is so, 1 when it has changed.
set -euo pipefail

driver=22.3.6-1+deb12u2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/python"
"$work/python/bin/pip" install --quiet --disable-pip-version-check wgpu==0.32.0

mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial" "$work/root"
: >"$work/status"
# The empty status makes every dependency count as missing.
apt=(apt-get -qq -o APT::Sandbox::User=root -o APT::Install-Recommends=false -o Dir::State="$work/state" -o Dir::State::status="$work/status"
    -o Dir::Cache="$work/cache" -o Acquire::Languages=none)
"${apt[@]}" update
"${apt[@]}" --yes --download-only install "mesa-vulkan-drivers=$driver" libvulkan1
for package in "$work"/cache/archives/{mesa-vulkan-drivers,libvulkan1,libllvm15,libdrm,libelf1,libz3,libedit2,libxcb,libx11-xcb1,libwayland,libxshmfence1,libzstd,libxau6,libxdmcp6,libbsd0,libmd0,libsensors,libffi,libxml2,libicu,libtinfo6}*.deb; do
    [ -e "$package" ] && dpkg-deb -x "$package" "$work/root"
done
library=$(find "$work/root" -name libvulkan_lvp.so | head -n 1)
sed -E "s|\"library_path\": *\"[^\"]*\"|\"library_path\": \"$library\"|" "$work"/root/usr/share/vulkan/icd.d/lvp_icd*.json >"$work/lvp.json"

cat >"$work/count.py" <<'PYTHON'
import sys
import wgpu
from wgpu.utils.compute import compute_with_buffers

SHADER = """
@group(0) @binding(0) var<storage, read> turns: array<u32>;
@group(0) @binding(1) var<storage, read_write> counted: array<u32>;

@compute @workgroup_size(1)
fn main() {
    for (var i = 0u; i < turns[0]; i++) { counted[0] += 1u; }
    for (var i = 0u; i < turns[1]; i++) {
        for (var j = 0u; j < turns[1]; j++) { counted[1] += 1u; }
    }
}
"""

adapter = wgpu.gpu.request_adapter_sync(power_preference="high-performance")
print(adapter.info["device"], "|", adapter.info["description"])

def count(once, nested):
    out = compute_with_buffers({0: memoryview(bytearray(once.to_bytes(4, "little") + nested.to_bytes(4, "little"))), 1: memoryview(bytearray(8))},
                               {1: (2, "I")}, SHADER, n=1)
    return list(out[1])

once, _ = count(100_000, 0)
_, nested = count(0, 300)
print(f"counted to {once} of 100000; nested: {nested} of 90000")
sys.exit(0 if once == 65_535 and nested < 90_000 else 1)
PYTHON

export VK_DRIVER_FILES="$work/lvp.json" VK_ICD_FILENAMES="$work/lvp.json"
LD_LIBRARY_PATH="$(dirname "$library")" "$work/python/bin/python" "$work/count.py" && echo 'as described: loops end after 65535 turns' || {
    echo 'changed: the loops ran to their end, or not at all'
    exit 1
}
