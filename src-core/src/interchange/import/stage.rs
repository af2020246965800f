//! The training stages with separate checkpoints in nanochat, and the choice among them.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use super::{ImportError, Options};

/// A training stage with separate checkpoints in nanochat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Pretraining.
    Base,
    /// Midtraining, between pretraining and fine-tuning until January 2026.
    Mid,
    /// Fine-tuning on conversations.
    Sft,
    /// Reinforcement learning.
    Rl,
}

impl Stage {
    /// All of them, the last one first.
    pub const ALL: [Self; 4] = [Self::Rl, Self::Sft, Self::Mid, Self::Base];

    /// The folder of a stage's models in a base folder.
    pub(super) fn folder(self) -> &'static str {
        match self {
            Self::Base => "base_checkpoints",
            Self::Mid => "mid_checkpoints",
            Self::Sft => "chatsft_checkpoints",
            Self::Rl => "chatrl_checkpoints",
        }
    }

    /// The stage whose models are in a folder of this name in a base folder.
    pub(super) fn of_models(folder: &Path) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| folder.ends_with(stage.folder()))
    }

    /// The stage whose checkpoints are in a folder of this name in an experiment's model.
    pub(super) fn in_experiment(folder: &Path) -> Option<Self> {
        match folder.file_name()?.to_str()? {
            "base" => Some(Self::Base),
            // `sft` until September 2026.
            "sft" | "chat" => Some(Self::Sft),
            "rl" => Some(Self::Rl),
            _ => None,
        }
    }

    /// The stage that the options name, or the last that `folder` has, and a note about the choice.
    pub(super) fn choose(folder: &Path, there: &[Self], options: &Options) -> Result<(Self, Option<String>), ImportError> {
        let there: Vec<Self> = Self::ALL.into_iter().filter(|stage| there.contains(stage)).collect();
        let names = there.iter().map(Self::to_string).collect::<Vec<_>>().join(", ");
        let stage = match options.source {
            Some(stage) if there.contains(&stage) => return Ok((stage, None)),
            Some(stage) => {
                let names = if names.is_empty() { "none" } else { &names };
                return Err(ImportError::refused(folder, format!("has no checkpoint of the stage {stage}; it has {names}")));
            }
            None => *there.first().ok_or_else(|| ImportError::refused(folder, "has folders of checkpoints, but no checkpoint in them"))?,
        };
        Ok((stage, (there.len() > 1).then(|| format!("there are {names}: this is the {stage} one"))))
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Base => "base",
            Self::Mid => "mid",
            Self::Sft => "sft",
            Self::Rl => "rl",
        })
    }
}

impl FromStr for Stage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|stage| stage.to_string() == text).ok_or_else(|| "it is one of base, mid, sft, rl".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_have_the_names_of_the_option() {
        for stage in Stage::ALL {
            assert_eq!(stage.to_string().parse(), Ok(stage));
        }
        assert!("pretraining".parse::<Stage>().is_err());
    }

    #[test]
    fn the_last_stage_is_taken_unless_another_is_named() {
        let folder = Path::new("a");
        let choose = |source| Stage::choose(folder, &[Stage::Base, Stage::Sft], &Options { source, ..Options::default() });
        let (stage, note) = choose(None).unwrap();
        assert_eq!((stage, note.unwrap().starts_with("there are sft, base: this is the sft one")), (Stage::Sft, true));
        assert_eq!(choose(Some(Stage::Base)).unwrap(), (Stage::Base, None));
        assert!(choose(Some(Stage::Rl)).unwrap_err().to_string().contains("no checkpoint of the stage rl; it has sft, base"));
        assert!(Stage::choose(folder, &[], &Options::default()).is_err());
    }
}
