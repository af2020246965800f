//! What can go wrong between the program and a GPU, each with a message that helps the user.

/// A failure of the device layer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum GpuError {
    /// There is no Vulkan, Metal or DX12 driver.
    #[error("no GPU driver was found; {how}")]
    NoAdapter {
        /// How to get a driver on this system.
        how: &'static str,
    },
    /// The name is of no adapter that is here.
    #[error("there is no adapter `{wanted}`; available: {available}")]
    UnknownAdapter {
        /// What was requested.
        wanted: String,
        /// The available adapters, comma-separated.
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
    /// A size for which the driver would end a kernel's loops early.
    #[error(
        "{what} would take {turns} iterations of a loop, and the driver of {adapter} ends loops after {most}; Mesa 25.0 and later do not"
    )]
    TooManyTurns {
        /// What was to be computed.
        what: String,
        /// Iterations of an invocation.
        turns: usize,
        /// Iterations that the driver allows.
        most: u32,
        /// The adapter's name.
        adapter: String,
    },
    /// The driver refused to open a device.
    #[error("the driver of {adapter} refused to open a device: {reason}")]
    OpenDevice {
        /// The adapter's name.
        adapter: String,
        /// The driver's message.
        reason: String,
    },
    /// An allocation failed.
    #[error("out of GPU memory: {label} needs {bytes} bytes and {in_use} bytes are in use; use a smaller batch or a smaller model")]
    OutOfMemory {
        /// What was being allocated.
        label: String,
        /// Its size in bytes.
        bytes: u64,
        /// Bytes already allocated on the device.
        in_use: u64,
    },
    /// `NC_MEMORY_LIMIT` is not a number.
    #[error("NC_MEMORY_LIMIT is {value:?}; it must be a number of bytes, such as 2000000000")]
    BadMemoryLimit {
        /// Its value.
        value: String,
    },
    /// `NC_CAPABILITIES` has an unknown value.
    #[error("NC_CAPABILITIES is {value:?}; it can be gpu, gpu-varying, gpu-no-subgroups or cpu")]
    UnknownCapabilities {
        /// Its value.
        value: String,
    },
    /// A tensor exceeds the size limit of a buffer or binding on this adapter.
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
    #[error("the GPU was lost ({reason}); the last checkpoint is intact: start again from it")]
    Lost {
        /// The driver's message.
        reason: String,
    },
    /// The API rejected something: a bug of the program or of the driver.
    #[error("the GPU refused {what}: {reason}")]
    Refused {
        /// What was being done.
        what: String,
        /// The API's message.
        reason: String,
    },
}

impl GpuError {
    /// The error for a system without adapters, with advice on how to get one.
    pub fn no_adapter() -> Self {
        Self::NoAdapter { how: super::adapter::how_to_get_a_driver() }
    }

    /// Whether a smaller batch could help.
    pub fn is_out_of_memory(&self) -> bool {
        matches!(self, Self::OutOfMemory { .. })
    }
}
