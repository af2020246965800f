//! The app as a whole: settings, limits, events, and what it is made of.

use serde::{Deserialize, Serialize};

use super::{ChatSettings, ConversationSummary, Id, LoadState, ModelInfo, SortKey, TrainRun};

/// All that the first frame needs.
#[derive(Clone, Debug, Serialize)]
pub struct AppStart {
    /// What the person chose.
    pub settings: AppSettings,
    /// The range of every setting.
    pub limits: Limits,
    /// All conversations, sorted.
    pub conversations: Vec<ConversationSummary>,
    /// All models.
    pub models: Vec<ModelInfo>,
    /// Which of them is loaded.
    pub loaded: LoadState,
    /// The training run in progress.
    pub training: Option<TrainRun>,
    /// The message that is being written.
    pub answering: Option<Id>,
    /// A damaged database was set aside at this start.
    pub recovered: Option<Recovered>,
    /// The app's version.
    pub version: String,
}

/// A damaged database was set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Recovered {
    /// Where it lies now.
    pub moved_to: String,
    /// What was wrong with it.
    pub problem: String,
}

/// Something happened that no command asked for.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum AppEvent {
    /// A model is being loaded, was loaded, failed to load, or is gone.
    LoadState {
        /// How it stands now.
        state: LoadState,
    },
    /// The list of models is another.
    ModelsChanged,
    /// The list of conversations is another.
    ConversationsChanged,
    /// The state of the training run is another.
    Training {
        /// How it stands now.
        run: TrainRun,
    },
    /// Files were dropped on the window.
    Dropped {
        /// Which.
        files: Vec<PickedFile>,
    },
    /// Files are held over the window, or no longer.
    Drag {
        /// Whether they are.
        over: bool,
    },
    /// The window is to be closed while a model is being trained.
    CloseRequested {
        /// The run.
        run: TrainRun,
    },
}

/// Colours of the pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Theme {
    /// As the desktop has them.
    #[default]
    System,
    /// Dark on light.
    Light,
    /// Light on dark.
    Dark,
}

/// What sends a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SendWith {
    /// Enter; with Shift it begins a line.
    #[default]
    Enter,
    /// Ctrl or Command and Enter.
    ModEnter,
}

/// What the person chose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AppSettings {
    /// Colours.
    pub theme: Theme,
    /// Size of text, in CSS pixels.
    pub font_size: f64,
    /// Language tag; the system's if empty.
    pub language: String,
    /// The model that was used last.
    pub last_model: Option<String>,
    /// The conversation that was open last.
    pub last_conversation: Option<Id>,
    /// The GPU to use; the best if absent.
    pub gpu: Option<String>,
    /// Order of conversations.
    pub sort: SortKey,
    /// Whether the sidebar is shown.
    pub sidebar_open: bool,
    /// Its width in CSS pixels.
    pub sidebar_width: f64,
    /// What sends a message.
    pub send_with: SendWith,
    /// Whether the first-run page was left.
    pub onboarded: bool,
    /// Settings of new conversations.
    pub defaults: ChatSettings,
}

impl Default for AppSettings {
    fn default() -> Self {
        Self {
            theme: Theme::System,
            font_size: 15.0,
            language: String::new(),
            last_model: None,
            last_conversation: None,
            gpu: None,
            sort: SortKey::Recent,
            sidebar_open: true,
            sidebar_width: 280.0,
            send_with: SendWith::Enter,
            onboarded: false,
            defaults: ChatSettings::default(),
        }
    }
}

/// The range of a number.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Range {
    /// Lowest value.
    pub min: f64,
    /// Highest value.
    pub max: f64,
    /// Value where nothing was chosen.
    pub default: f64,
    /// A sensible step.
    pub step: f64,
    /// Whether only whole numbers are allowed.
    pub whole: bool,
}

/// The range of every setting.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Limits {
    /// Settings of a conversation.
    pub chat: ChatLimits,
    /// Longest message.
    pub message_max_bytes: usize,
    /// Longest title.
    pub title_max_chars: usize,
    /// Longest search.
    pub search_max_chars: usize,
    /// Size of text.
    pub font_size: Range,
    /// Width of the sidebar.
    pub sidebar_width: Range,
    /// Longest name of a model.
    pub model_name_max_chars: usize,
    /// What a training run may be.
    pub train: TrainLimits,
}

/// The range of every setting of a conversation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChatLimits {
    /// The system prompt.
    pub system_prompt: TextLimit,
    /// Temperature.
    pub temperature: Range,
    /// Top-k.
    pub top_k: Range,
    /// Top-p.
    pub top_p: Range,
    /// Min-p.
    pub min_p: Range,
    /// Repetition penalty.
    pub repetition_penalty: Range,
    /// Seed.
    pub seed: Range,
    /// Tokens of an answer.
    pub max_tokens: Range,
}

/// How long a text may be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TextLimit {
    /// Bytes of UTF-8.
    pub max_bytes: usize,
}

/// The range of what a training run may be asked for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrainLimits {
    /// Layers.
    pub depth: Range,
    /// Tokens of context.
    pub context: Range,
    /// Steps.
    pub steps: Range,
    /// Tokens to train on.
    pub tokens: Range,
    /// Minutes to train for.
    pub minutes: Range,
    /// Seed of the initial weights.
    pub seed: Range,
}

/// What the app is made of and where it keeps things.
#[derive(Clone, Debug, Serialize)]
pub struct About {
    /// The app's version.
    pub version: String,
    /// That of nc-core.
    pub nc_core: String,
    /// That of Tauri.
    pub tauri: String,
    /// That of the web view.
    pub webview: String,
    /// The system.
    pub os: String,
    /// Where conversations are kept.
    pub data_folder: String,
    /// Where models are kept.
    pub models_folder: String,
    /// Length of the database.
    pub database_bytes: u64,
}

/// A package that the app is built from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Licence {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its licence, as an SPDX expression.
    pub licence: String,
    /// Where its source is.
    pub repository: Option<String>,
}

/// A file that the person chose. The pages never see its path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PickedFile {
    /// What stands for it.
    pub token: String,
    /// Its name, without folders.
    pub name: String,
    /// Its length, or that of the files in it.
    pub bytes: u64,
    /// Whether it is a folder.
    pub folder: bool,
}
