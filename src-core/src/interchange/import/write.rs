//! Writes an imported model as a run: whole or not at all, and without ever holding a whole tensor in memory.

use std::borrow::Cow;
use std::cell::RefCell;

use serde_json::Value;
use serde_json::value::RawValue;

use super::{Found, ImportError, Weights};
use crate::checkpoint::home::Home;
use crate::checkpoint::{Run, Sink, Snapshot, SourceError, StreamError, TensorSource, TensorSpec, save};

/// Progress of writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of tensors written so far.
    pub done: u64,
    /// Total bytes of tensors.
    pub total: u64,
}

impl Found {
    /// Writes the run `name`; `config` is its `config.json`, and `tell` receives the progress.
    ///
    /// # Errors
    /// If a run of that name exists, a file cannot be read completely, or the disk is full. Then no run is created.
    pub fn write(self, home: &Home, name: &str, config: &Value, tell: &mut dyn FnMut(Progress)) -> Result<Run, ImportError> {
        let step = self.step();
        let bar = RefCell::new(Bar { progress: Progress { done: 0, total: 0 }, tell });
        match self.weights {
            Weights::Foreign(mut weights, _) => {
                let json = self.tokenizer.as_ref().map(|tokenizer| tokenizer.to_json());
                let model = &mut Told::new(&mut weights, &bar);
                Run::create_with(home, name, config, json.as_deref(), |lock| {
                    save(lock, Snapshot { step, model, optimizer: None, state: RawValue::NULL }, None)?;
                    Ok(())
                })
            }
            Weights::Own(mut own) => {
                let (json, checkpoint) = (own.tokenizer_json.take(), &mut own.checkpoint);
                let model = &mut Told::new(&mut checkpoint.model, &bar);
                let mut moments = checkpoint.optimizer.as_mut().map(|moments| Told::new(moments, &bar));
                let optimizer = moments.as_mut().map(|moments| moments as &mut dyn TensorSource);
                Run::create_with(home, name, config, json.as_deref(), |lock| {
                    save(lock, Snapshot { step, model, optimizer, state: &checkpoint.state }, None)?;
                    Ok(())
                })
            }
        }
    }
}

/// Progress, and its listener.
struct Bar<'a> {
    progress: Progress,
    tell: &'a mut dyn FnMut(Progress),
}

/// A source that counts the bytes of its tensors.
struct Told<'a, 'b> {
    source: &'a mut dyn TensorSource,
    bar: &'a RefCell<Bar<'b>>,
}

impl<'a, 'b> Told<'a, 'b> {
    fn new(source: &'a mut dyn TensorSource, bar: &'a RefCell<Bar<'b>>) -> Self {
        let elements: usize = source.specs().iter().filter_map(TensorSpec::elements).sum();
        bar.borrow_mut().progress.total += (elements * size_of::<f32>()) as u64;
        Self { source, bar }
    }
}

impl TensorSource for Told<'_, '_> {
    fn specs(&self) -> Vec<TensorSpec> {
        self.source.specs()
    }

    fn fetch(&mut self, index: usize) -> Result<Cow<'_, [f32]>, SourceError> {
        self.source.fetch(index)
    }

    fn stream(&mut self, index: usize, sink: &mut Sink<'_>) -> Result<(), StreamError> {
        self.source.stream(index, &mut |piece| {
            sink(piece)?;
            let bar = &mut *self.bar.borrow_mut();
            bar.progress.done += size_of_val(piece) as u64;
            (bar.tell)(bar.progress);
            Ok(())
        })
    }
}
