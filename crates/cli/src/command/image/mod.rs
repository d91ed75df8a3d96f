//! Images.

pub mod build;
pub mod history;
pub mod import;
pub mod inspect;
pub mod load;
pub mod ls;
pub mod prune;
pub mod pull;
pub mod push;
pub mod rm;
pub mod save;
pub mod search;
pub mod tag;

use crate::spec::Group;

/// `image`
pub static GROUP: Group = Group {
    name: "image",
    about: "Manage images",
    commands: &[
        &build::COMMAND,
        &history::COMMAND,
        &import::COMMAND,
        &inspect::COMMAND,
        &load::COMMAND,
        &ls::LS,
        &prune::COMMAND,
        &pull::COMMAND,
        &push::COMMAND,
        &rm::RM,
        &save::COMMAND,
        &tag::COMMAND,
    ],
};
