//! The typed project.
//!
//! ```text
//! field.rs data.rs      how values are read from a tree and written again; `shape!`
//! kind.rs words.rs time.rs   the specification's own kinds of values
//! service.rs deploy.rs resource.rs   services, networks, volumes, configs, secrets
//! project.rs            all of it; profiles and selection
//! consistent.rs         what must hold between the parts
//! environment.rs        env_file, label_file
//! hash.rs               the configuration's hash
//! ```

pub mod autoscale;
pub mod consistent;
pub mod data;
pub mod deploy;
pub mod environment;
pub mod field;
pub mod hash;
pub mod kind;
pub mod project;
pub mod resource;
pub mod service;
pub mod words;

pub use data::{Data, Form};
pub use project::{Along, Project};
