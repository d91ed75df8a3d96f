//! The commands: one file for each, in a folder for each noun; and the tables by which they are found.

pub mod absent;
pub mod bake;
pub mod builder;
pub mod buildx;
pub mod completion;
pub mod compose;
pub mod container;
pub mod context;
pub mod each;
pub mod image;
pub mod inspect;
pub mod inspector;
pub mod login;
pub mod network;
pub mod output_file;
pub mod own_file;
pub mod system;
pub mod version;
pub mod volume;

use crate::flag::{Flag, NONE, text};
use crate::spec::{Command, Group};

/// `--format`
pub const fn format_flag(about: &'static str) -> Flag {
    text("format", NONE, about)
}

/// `-f, --format`
pub const fn format_flag_f(about: &'static str) -> Flag {
    text("format", 'f', about)
}

/// Nouns.
pub static GROUPS: &[&Group] = &[
    &builder::GROUP,
    &buildx::GROUP,
    &compose::GROUP,
    &container::GROUP,
    &context::GROUP,
    &image::GROUP,
    &network::GROUP,
    &system::GROUP,
    &volume::GROUP,
];

/// Nouns within a noun.
pub static INNER: &[&Group] = &[&builder::cache_mount::GROUP, &builder::history::GROUP, &buildx::HISTORY];

/// The nouns within a noun, each with its last word.
pub fn inner(group: &Group) -> impl Iterator<Item = (&'static str, &'static Group)> {
    let name = group.name;
    INNER.iter().filter_map(move |inner| Some((inner.name.strip_prefix(name)?.strip_prefix(' ')?, *inner)))
}

/// Commands at the top, most of them short for one of a noun.
pub static TOP: &[(&str, &Command)] = &[
    ("attach", &container::attach::COMMAND),
    ("bake", &bake::COMMAND),
    ("build", &image::build::COMMAND),
    ("commit", &container::commit::COMMAND),
    ("completion", &completion::COMMAND),
    ("cp", &container::cp::COMMAND),
    ("create", &container::create::COMMAND),
    ("diff", &container::diff::COMMAND),
    ("events", &system::events::COMMAND),
    ("exec", &container::exec::COMMAND),
    ("export", &container::export::COMMAND),
    ("history", &image::history::COMMAND),
    ("images", &image::ls::IMAGES),
    ("import", &image::import::COMMAND),
    ("info", &system::info::COMMAND),
    ("inspect", &inspect::COMMAND),
    ("kill", &container::kill::COMMAND),
    ("load", &image::load::COMMAND),
    ("login", &login::LOGIN),
    ("logout", &login::LOGOUT),
    ("logs", &container::logs::COMMAND),
    ("pause", &container::pause::PAUSE),
    ("port", &container::port::COMMAND),
    ("ps", &container::ls::PS),
    ("pull", &image::pull::COMMAND),
    ("push", &image::push::COMMAND),
    ("rename", &container::rename::COMMAND),
    ("restart", &container::restart::COMMAND),
    ("rm", &container::rm::COMMAND),
    ("rmi", &image::rm::RMI),
    ("run", &container::run::COMMAND),
    ("save", &image::save::COMMAND),
    ("search", &image::search::COMMAND),
    ("start", &container::start::COMMAND),
    ("stats", &container::stats::COMMAND),
    ("stop", &container::stop::COMMAND),
    ("tag", &image::tag::COMMAND),
    ("top", &container::top::COMMAND),
    ("unpause", &container::pause::UNPAUSE),
    ("update", &container::update::COMMAND),
    ("version", &version::COMMAND),
    ("wait", &container::wait::COMMAND),
];

/// Commands that help names first.
pub const COMMON: &[&str] =
    &["run", "exec", "ps", "build", "pull", "push", "images", "login", "logout", "search", "version", "info"];

/// What a word after the program's name is.
pub enum Entry {
    /// A command.
    Command(&'static Command),
    /// A noun.
    Group(&'static Group),
}

impl Entry {
    /// What it is for, in one line.
    pub fn about(&self) -> &'static str {
        match self {
            Entry::Command(c) => c.about,
            Entry::Group(g) => g.about,
        }
    }
}

/// The command or noun of this name.
pub fn find(word: &str) -> Option<Entry> {
    if let Some((_, command)) = TOP.iter().find(|(name, _)| *name == word) {
        return Some(Entry::Command(command));
    }
    GROUPS.iter().find(|g| g.name == word).map(|g| Entry::Group(g))
}

/// Flags that stand before a noun's command.
pub fn group_flags(group: &Group) -> &'static [Flag] {
    if group.name == compose::GROUP.name { compose::FLAGS } else { &[] }
}

/// Those of them that each of its commands takes as well.
pub fn persistent_flags(group: &Group) -> &'static [Flag] {
    if group.name == compose::GROUP.name { compose::PERSISTENT } else { &[] }
}
