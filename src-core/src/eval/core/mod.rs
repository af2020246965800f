//! CORE, the average over the 22 tasks of the DCLM bundle (Li et al. 2024, <https://arxiv.org/abs/2406.11794>), as nanochat computes
//! it: the same items in the same order, the same examples before each, the same tokens, the same decision.
//!
//! [`Bundle`] reads the bundle's folder, [`TaskData`] holds the items of a task and renders them to token ids with the span that is
//! scored, [`evaluate`] scores them, and [`Report`] sums up.

mod bundle;
mod catalog;
mod csv;
mod decide;
mod error;
mod evaluate;
mod item;
mod render;
mod report;
mod text;
mod yaml;

pub use bundle::{Bundle, CONFIG, DATA, META};
pub use catalog::{Kind, TASKS, TaskFacts};
pub use decide::{all_likeliest, lowest_mean};
pub use error::CoreError;
pub use evaluate::{Answer, Options, evaluate};
pub use item::Item;
pub use render::{Prompt, TaskData};
pub use report::{Report, TaskScore};
