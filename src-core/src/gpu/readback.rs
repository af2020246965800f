//! Reads values back from the GPU without stalling it: copied at the end of a submission, mapped while later work runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use super::memory::Entry;
use super::{Gpu, GpuError, Memory, Tensor};

const PENDING: u8 = 0;
const READY: u8 = 1;
const FAILED: u8 = 2;

/// A buffer that the CPU can map: [`start`](Self::start) a copy into it, and later [`wait`](Self::wait) for it.
pub struct Readback {
    gpu: Gpu,
    buffer: wgpu::Buffer,
    len: u64,
    state: Arc<AtomicU8>,
    submission: Option<wgpu::SubmissionIndex>,
    _entry: Entry,
}

impl Readback {
    /// A buffer of `bytes` bytes.
    pub fn new(gpu: &Gpu, bytes: u64) -> Result<Self, GpuError> {
        let size = bytes.max(4).next_multiple_of(4);
        let buffer = gpu.buffer("readback", size, wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST)?;
        let entry = gpu.ledger().enter(Memory::Staging, size);
        Ok(Self { gpu: gpu.clone(), buffer, len: bytes, state: Arc::new(AtomicU8::new(PENDING)), submission: None, _entry: entry })
    }

    /// Submits copies of `tensors`, one after another, after all work submitted so far, and requests that they are
    /// mapped when they are done. If there are several, their sizes must be multiples of four bytes, and together they must not
    /// exceed this buffer. Does nothing in a dry run.
    pub fn start(&mut self, tensors: &[&Tensor]) {
        let encoder = self.gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("readback") });
        self.submit(encoder, tensors);
    }

    /// [`start`](Self::start), at the end of the commands in `encoder`: one submission for both.
    pub(super) fn submit(&mut self, mut encoder: wgpu::CommandEncoder, tensors: &[&Tensor]) {
        if self.gpu.only_counts() {
            return;
        }
        let mut at = 0;
        for tensor in tensors {
            let size = tensor.bytes().next_multiple_of(4);
            encoder.copy_buffer_to_buffer(&tensor.buffer, tensor.offset, &self.buffer, at, size);
            at += size;
        }
        self.submission = Some(self.gpu.queue().submit([encoder.finish()]));
        self.state.store(PENDING, Ordering::Release);
        let state = self.state.clone();
        self.buffer.map_async(wgpu::MapMode::Read, .., move |outcome| {
            state.store(if outcome.is_ok() { READY } else { FAILED }, Ordering::Release);
        });
    }

    /// Waits for the values, but not for work submitted after them, and unmaps the buffer, which can then be
    /// reused. Fails in a dry run, which has no values.
    pub fn wait<E: bytemuck::Pod>(&mut self) -> Result<Vec<E>, GpuError> {
        if self.gpu.only_counts() {
            return Err(GpuError::Refused { what: "reading".into(), reason: "this is a dry run, which computes nothing".into() });
        }
        // If another thread polls the device too, it may have taken this buffer's callback and not have run it yet.
        while self.state.load(Ordering::Acquire) == PENDING {
            self.gpu.wait_for(self.submission.take())?;
            std::thread::yield_now();
        }
        self.gpu.check()?;
        if self.state.load(Ordering::Acquire) != READY {
            return Err(GpuError::Lost { reason: "a read-back buffer could not be mapped".into() });
        }
        let values = {
            let view = self
                .buffer
                .get_mapped_range(..)
                .map_err(|error| GpuError::Refused { what: "mapping a read-back buffer".into(), reason: error.to_string() })?;
            bytemuck::pod_collect_to_vec(&view[..self.len as usize])
        };
        self.buffer.unmap();
        Ok(values)
    }
}
