//! The files of other programs: [`import`] makes runs of models from elsewhere, [`export`] writes folders for other programs,
//! and [`torch`] reads PyTorch's files.

pub mod export;
pub mod import;
pub mod torch;
