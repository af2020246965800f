//! Others' files: models that were made elsewhere come in by [`import`], ours go out by [`export`], and [`torch`] reads what
//! PyTorch wrote.

pub mod export;
pub mod import;
pub mod torch;
