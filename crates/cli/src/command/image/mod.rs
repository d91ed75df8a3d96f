//! Images.

pub mod build;
pub mod build_call;
pub mod diff;
pub mod history;
pub mod import;
pub mod inspect;
pub mod load;
pub mod ls;
pub mod mount;
pub mod prune;
pub mod pull;
pub mod push;
pub mod rm;
pub mod save;
pub mod search;
pub mod sign;
pub mod squash;
pub mod tag;
pub mod tree;
pub mod verify;

use crate::spec::Group;

/// `image`
pub static GROUP: Group = Group {
    name: "image",
    about: "Manage images",
    commands: &[
        &build::COMMAND,
        &diff::COMMAND,
        &history::COMMAND,
        &sign::GENERATE,
        &import::COMMAND,
        &inspect::COMMAND,
        &load::COMMAND,
        &ls::LS,
        &mount::MOUNT,
        &prune::COMMAND,
        &pull::COMMAND,
        &push::COMMAND,
        &rm::RM,
        &save::COMMAND,
        &sign::SIGN,
        &squash::COMMAND,
        &tag::COMMAND,
        &tree::COMMAND,
        &mount::UNMOUNT,
        &verify::COMMAND,
    ],
};
