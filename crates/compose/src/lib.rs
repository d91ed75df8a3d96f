//! Compose: a project's files, parsed with their places, made into a typed project, planned and applied.
//!
//! ```text
//! load/    command line → files → one tree          parse/   what is done with text and trees (pure)
//! model/   tree → typed project                     render/  project → YAML and JSON (pure)
//! ```
//! Everything that Docker Compose's users see follows Docker Compose: names, labels, hashes, words.

pub mod apply;
pub mod artifact;
pub mod error;
pub mod load;
pub mod model;
pub mod parse;
pub mod plan;
pub mod render;

pub use error::Error;
pub use load::{Loader, Request, Skip};
pub use model::Project;
