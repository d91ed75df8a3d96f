//! The daemon.

pub mod df;
pub mod dial_stdio;
pub mod events;
pub mod info;
pub mod prune;

use crate::spec::Group;

/// `system`
pub static GROUP: Group = Group {
    name: "system",
    about: "Manage the daemon",
    commands: &[&df::COMMAND, &dial_stdio::COMMAND, &events::COMMAND, &info::COMMAND, &prune::COMMAND],
};
