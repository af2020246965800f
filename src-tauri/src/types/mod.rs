//! What commands take and give, as JSON: the contract with the pages. `ui/src/lib/api/types.ts` says the same in TypeScript.

mod app;
mod chat;
mod models;
mod training;

pub use app::*;
pub use chat::*;
pub use models::*;
pub use training::*;

/// Milliseconds since 1970.
pub type Millis = i64;

/// The time now.
pub fn now() -> Millis {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_millis() as Millis)
}
