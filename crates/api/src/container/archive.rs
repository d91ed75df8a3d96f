//! What `/containers/{id}/archive` says of a path, base64-encoded in a header.

/// The header that carries a base64-encoded [`PathStat`].
pub const PATH_STAT_HEADER: &str = "X-Docker-Container-Path-Stat";

wire! {
    /// A path in a container. `mode` has the bits of Go's `os.FileMode`.
    pub struct PathStat {
        pub name: String,
        pub size: i64,
        pub mode: u32,
        #[serde(serialize_with = "crate::json::time")]
        pub mtime: String,
        #[serde(rename = "linkTarget")]
        pub link_target: String,
    }
}
