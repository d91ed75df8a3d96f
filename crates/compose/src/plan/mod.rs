//! What is to be done, as a pure function of the project and of what is there.
//!
//! ```text
//! observed containers ─┐
//! project ─────────────┼─> Plan: orphans to remove; for each service, in order of dependency: keep, recreate,
//! options ─────────────┘   create, remove          (converge.rs)
//! container.rs limits.rs   the request that makes one container        label.rs  how resources are found again
//! ```

pub mod container;
mod converge;
pub mod label;
mod limits;

pub use converge::{Action, Options, Plan, Recreate, Seen, ServicePlan, plan, with_ids};

/// A container's default name.
pub fn container_name(project: &str, service: &str, number: u32, separator: &str) -> String {
    format!("{project}{separator}{service}{separator}{number}")
}
