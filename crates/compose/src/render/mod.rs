//! Values as text, byte for byte as Go's libraries write them.

pub mod json;
pub mod number;
pub mod yaml;
