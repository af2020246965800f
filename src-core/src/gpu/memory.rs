//! Accounting of GPU memory by purpose, so that a step's peak can be printed, and predicted by a dry run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::GpuError;

/// The environment variable that limits the bytes of tensors of this process on the GPU: for machines whose GPU is shared.
pub(super) const LIMIT_VARIABLE: &str = "NC_MEMORY_LIMIT";

/// The most bytes of tensors: what the user allows; else, if the device uses the machine's memory (`on_host`), the size of
/// that, because the system would kill the process rather than fail an allocation.
pub(super) fn limit(on_host: bool) -> Result<Option<u64>, GpuError> {
    match std::env::var(LIMIT_VARIABLE) {
        Ok(value) if value.trim().is_empty() => Ok(host_memory().filter(|_| on_host)),
        Ok(value) => value.trim().parse().map(Some).map_err(|_| GpuError::BadMemoryLimit { value }),
        Err(std::env::VarError::NotUnicode(value)) => Err(GpuError::BadMemoryLimit { value: value.to_string_lossy().into_owned() }),
        Err(std::env::VarError::NotPresent) => Ok(host_memory().filter(|_| on_host)),
    }
}

/// Bytes of the machine's memory, if the system reports it.
pub(super) fn host_memory() -> Option<u64> {
    #[cfg(unix)]
    {
        // SAFETY: both calls only query the system.
        let (pages, page) = unsafe { (libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGESIZE)) };
        u64::try_from(pages).ok()?.checked_mul(u64::try_from(page).ok()?).filter(|&bytes| bytes > 0)
    }
    #[cfg(not(unix))]
    None
}

/// What a buffer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Master parameters.
    Weights,
    /// Gradients, one per parameter.
    Gradients,
    /// Optimizer state.
    Moments,
    /// What the forward pass saves for the backward pass.
    Activations,
    /// Scratch that no later operation reads.
    Workspace,
    /// Read-back and upload buffers, uniforms.
    Staging,
    /// The KV cache. Training has none.
    Cache,
}

impl Memory {
    /// Every kind, in the order of [`MemoryUse::by_kind`].
    pub const ALL: [Memory; 7] =
        [Memory::Weights, Memory::Gradients, Memory::Moments, Memory::Activations, Memory::Workspace, Memory::Staging, Memory::Cache];

    /// The kind's name, in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Memory::Weights => "weights",
            Memory::Gradients => "gradients",
            Memory::Moments => "moments",
            Memory::Activations => "activations",
            Memory::Workspace => "workspace",
            Memory::Staging => "staging",
            Memory::Cache => "cache",
        }
    }
}

/// Bytes allocated on the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// Bytes allocated now.
    pub current: u64,
    /// The peak of allocated bytes.
    pub peak: u64,
    /// Bytes allocated now, by [`Memory::ALL`].
    pub by_kind: [u64; Memory::ALL.len()],
}

/// Running totals, shared by the device and every buffer on it.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    current: AtomicU64,
    peak: AtomicU64,
    by_kind: [AtomicU64; Memory::ALL.len()],
}

impl Ledger {
    pub(super) fn in_use(&self) -> MemoryUse {
        MemoryUse {
            current: self.current.load(Ordering::Relaxed),
            peak: self.peak.load(Ordering::Relaxed),
            by_kind: std::array::from_fn(|kind| self.by_kind[kind].load(Ordering::Relaxed)),
        }
    }

    /// Resets the peak to what is in use now.
    pub(super) fn forget_peak(&self) {
        self.peak.store(self.current.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    pub(super) fn enter(self: &Arc<Self>, kind: Memory, bytes: u64) -> Entry {
        let now = self.current.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.peak.fetch_max(now, Ordering::Relaxed);
        self.by_kind[kind as usize].fetch_add(bytes, Ordering::Relaxed);
        Entry { ledger: self.clone(), kind, bytes }
    }
}

/// One allocation's entry in the ledger, removed when it is dropped.
#[derive(Debug)]
pub(super) struct Entry {
    ledger: Arc<Ledger>,
    kind: Memory,
    bytes: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.ledger.current.fetch_sub(self.bytes, Ordering::Relaxed);
        self.ledger.by_kind[self.kind as usize].fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
