//! What a root file system is made of.
//!
//! ```text
//! files of an image ─ scan ─► Inventory: system, packages ─┬─ spdx       SPDX 2.3
//!   dpkg, apk, rpm         databases of distributions       └─ cyclonedx  CycloneDX 1.6
//!   python, node           metadata of installed packages
//!   go, rust               what programs say of how they were built
//! ```
//! Everything is read below the root, links too, and nothing of it is believed: each file is bounded, and one that is
//! not what it should be is passed over. Only what is installed counts, not lists of what might be.
//!
//! This crate knows files and packages, nothing of images, builds or registries.

mod apk;
mod cyclonedx;
mod dpkg;
mod go;
mod inventory;
mod node;
mod program;
mod python;
mod root;
mod rpm;
mod rust;
mod scanner;
mod spdx;

pub use cyclonedx::cyclonedx;
pub use inventory::{Ecosystem, Inventory, Package, System};
pub use root::ScanError;
pub use scanner::scan;
pub use spdx::spdx;

/// What the fuzz targets look into.
#[cfg(fuzzing)]
pub mod fuzzing {
    /// Reads a header of RPM's database, as a row of it has it.
    pub fn rpm(header: &[u8]) -> Option<crate::Package> {
        crate::rpm::package(header, "f")
    }
}

/// What a document is about, and who makes it when.
#[derive(Debug, Clone, Default)]
pub struct Subject {
    /// The image's name, or another one for people.
    pub name: String,
    /// Names the document: nothing else may have this.
    pub id: String,
    /// RFC 3339.
    pub created: String,
    /// The program that made it, with its version.
    pub tool: (String, String),
}
