//! Fetches models from the hub, with progress bars.

use super::data::download::Progress;
use super::{Context, Failure, note};
use crate::data::download::hub::Hub;
use crate::interchange::import::Options;
use crate::interchange::import::hub::{self, Fetched};

/// Fetches `OWNER/NAME[@REVISION]` into the cache.
pub fn fetch_model(repo: &str, options: &Options, offline: bool, context: &Context) -> Result<Fetched, Failure> {
    // No cleanup is needed: whatever is on disk at any moment can be continued.
    ctrlc::set_handler(|| {
        note("stopped; run the same command again to continue");
        std::process::exit(130);
    })?;
    let progress = Progress::new("files");
    let hub = Hub::new(&context.home.cache(), offline);
    Ok(hub::fetch(&hub, repo, options, &|files| progress.expect(files), &|name, event| progress.show(name, event))?)
}
