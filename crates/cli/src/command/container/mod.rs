//! Containers.

pub mod attach;
pub mod commit;
pub mod cp;
pub mod create;
pub mod diff;
pub mod exec;
pub mod export;
pub mod inspect;
pub mod kill;
pub mod logs;
pub mod ls;
pub mod options;
pub mod pause;
pub mod port;
pub mod prune;
pub mod rename;
pub mod restart;
pub mod rm;
pub mod run;
pub mod session;
pub mod start;
pub mod stats;
pub mod stop;
pub mod top;
pub mod update;
pub mod wait;

use crate::spec::Group;

/// `container`
pub static GROUP: Group = Group {
    name: "container",
    about: "Manage containers",
    commands: &[
        &attach::COMMAND,
        &commit::COMMAND,
        &cp::COMMAND,
        &create::COMMAND,
        &diff::COMMAND,
        &exec::COMMAND,
        &export::COMMAND,
        &inspect::COMMAND,
        &kill::COMMAND,
        &logs::COMMAND,
        &ls::LS,
        &pause::PAUSE,
        &port::COMMAND,
        &prune::COMMAND,
        &rename::COMMAND,
        &restart::COMMAND,
        &rm::COMMAND,
        &run::COMMAND,
        &start::COMMAND,
        &stats::COMMAND,
        &stop::COMMAND,
        &top::COMMAND,
        &pause::UNPAUSE,
        &update::COMMAND,
        &wait::COMMAND,
    ],
};
