//! Trains a tokenizer, with a spinner on stderr if that is a terminal.

use std::error::Error;
use std::time::Duration;

use indicatif::{HumanCount, ProgressBar};

use crate::tokenizer::{Tokenizer, TokenizerError, TrainOptions, TrainProgress, Trained};

/// Trains on `documents` and shows the progress.
pub fn train<E: Error + Send + Sync + 'static>(
    documents: impl IntoIterator<Item = Result<String, E>>,
    options: &TrainOptions,
) -> Result<Trained, TokenizerError> {
    let spinner = ProgressBar::new_spinner();
    spinner.enable_steady_tick(Duration::from_millis(200));
    let trained = Tokenizer::train_and_tell(documents, options, &mut |progress| {
        spinner.set_message(match progress {
            TrainProgress::Read { documents, chars } => {
                format!("read {} documents, {} characters", HumanCount(documents), HumanCount(chars))
            }
            TrainProgress::Merged { done, of } => format!("merged {} of {} pairs", HumanCount(done as u64), HumanCount(of as u64)),
        });
    });
    spinner.finish_and_clear();
    trained
}
