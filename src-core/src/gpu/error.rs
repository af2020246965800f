//! What can go wrong between the program and a GPU, each with the sentence a user needs.

/// A failure of the device layer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum GpuError {
    /// No Vulkan, Metal or DX12 driver answered.
    #[error("no GPU driver was found; {how}")]
    NoAdapter {
        /// How to get a driver on this system.
        how: &'static str,
    },
    /// `--adapter` names nothing that is here.
    #[error("no adapter is called `{wanted}`; here are: {available} (see `nc-core info`)")]
    UnknownAdapter {
        /// What was asked for.
        wanted: String,
        /// The adapters that are here, comma-separated.
        available: String,
    },
    /// The adapter has less of something than the kernels need.
    #[error("{adapter} cannot run nc-core: it has {has} {what}, and the kernels need {needs}")]
    TooLittle {
        /// The adapter's name.
        adapter: String,
        /// What it has too little of.
        what: &'static str,
        /// How much it has.
        has: u32,
        /// How much the kernels need.
        needs: u32,
    },
    /// A size for which a kernel's loops would be cut short by a driver that counts their turns.
    #[error("{what} would take {turns} turns of a loop, and the driver of {adapter} ends loops after {most}; Mesa 25.0 and later do not")]
    TooManyTurns {
        /// What was to be computed.
        what: String,
        /// Turns of an invocation.
        turns: usize,
        /// Turns that the driver grants.
        most: u32,
        /// The adapter's name.
        adapter: String,
    },
    /// The driver refused to open a device.
    #[error("the driver of {adapter} refused to open a device: {reason}")]
    OpenDevice {
        /// The adapter's name.
        adapter: String,
        /// The driver's words.
        reason: String,
    },
    /// An allocation failed.
    #[error("out of GPU memory: {label} needs {bytes} bytes and {in_use} bytes are in use; use a smaller --device-batch-size or --depth")]
    OutOfMemory {
        /// What was being allocated.
        label: String,
        /// Its size in bytes.
        bytes: u64,
        /// Bytes allocated on the device before it.
        in_use: u64,
    },
    /// `NC_MEMORY_LIMIT` is no number.
    #[error("NC_MEMORY_LIMIT is {value:?}; it must be a number of bytes, such as 2000000000")]
    BadMemoryLimit {
        /// Its value.
        value: String,
    },
    /// `NC_CAPABILITIES` names nothing that is known.
    #[error("NC_CAPABILITIES is {value:?}; it can be gpu, gpu-varying, gpu-no-subgroups or cpu")]
    UnknownCapabilities {
        /// Its value.
        value: String,
    },
    /// A tensor exceeds what one buffer or one binding may hold on this adapter.
    #[error("{label} needs {bytes} bytes, but {adapter} binds at most {limit} bytes at a time")]
    TooLarge {
        /// What was being allocated.
        label: String,
        /// Its size in bytes.
        bytes: u64,
        /// The adapter's limit in bytes.
        limit: u64,
        /// The adapter's name.
        adapter: String,
    },
    /// The device went away in the middle of work.
    #[error("the GPU was lost ({reason}); the last checkpoint is intact: start again with --resume")]
    Lost {
        /// The driver's words.
        reason: String,
    },
    /// The API refused something: a fault of the program or of the driver.
    #[error("the GPU refused {what}: {reason}")]
    Refused {
        /// What was being done.
        what: String,
        /// The API's words.
        reason: String,
    },
}

impl GpuError {
    /// There is no adapter, and how to get one here.
    pub fn no_adapter() -> Self {
        Self::NoAdapter { how: super::adapter::how_to_get_a_driver() }
    }

    /// Whether a smaller batch could help.
    pub fn is_out_of_memory(&self) -> bool {
        matches!(self, Self::OutOfMemory { .. })
    }
}
