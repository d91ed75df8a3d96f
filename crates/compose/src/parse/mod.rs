//! Text to tree, and what is done with a tree before it is a project. Nothing here reads a file or the environment.
//!
//! ```text
//! yaml.rs scalar.rs      text → tree, each value with its place
//! template.rs            variables of one text          interpolate.rs   of all texts of a tree
//! merge.rs               a later file over an earlier one
//! schema.rs check.rs     what the specification allows
//! short.rs port.rs mount.rs   short forms → long forms, defaults
//! paths.rs normal.rs     absolute paths; what is left out
//! dotenv.rs              env files
//! allowance.rs           what hostile files may cost
//! ```

pub mod allowance;
pub mod check;
pub mod dotenv;
pub mod interpolate;
pub mod merge;
pub mod mount;
pub mod node;
pub mod normal;
pub mod paths;
pub mod port;
pub mod scalar;
pub mod schema;
pub mod short;
pub mod template;
pub mod yaml;
