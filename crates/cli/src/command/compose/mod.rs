//! `compose`: projects of several services.
//!
//! ```text
//! project.rs   flags before the command → files → project        say.rs   warnings
//! config.rs    the project as text
//! ```

pub mod config;
mod project;
mod say;

pub use project::FLAGS;

use crate::format::table::Shape;
use crate::spec::Group;

/// The shape of Compose's tables.
const TABLE: Shape = Shape { min_width: 20, padding: 3 };

/// `compose`
pub static GROUP: Group = Group {
    name: "compose",
    about: "Define and run projects of several services",
    commands: &[&config::COMMAND],
};
