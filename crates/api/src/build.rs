//! The builder: its cache records and prune report. The query of `POST /build` is the daemon's.

use crate::json::empty;

wire! {
    /// A record of the build cache.
    #[serde(rename_all = "PascalCase")]
    pub struct CacheRecord {
        #[serde(rename = "ID")]
        pub id: String,
        #[serde(skip_serializing_if = "empty")]
        pub parents: Vec<String>,
        #[serde(rename = "Type")]
        pub kind: String,
        pub description: String,
        pub in_use: bool,
        pub shared: bool,
        pub size: i64,
        #[serde(serialize_with = "crate::json::time")]
        pub created_at: String,
        pub last_used_at: Option<String>,
        pub usage_count: i64,
    }

    /// Answer of `POST /build/prune`.
    #[serde(rename_all = "PascalCase")]
    pub struct BuildPruneReport {
        pub caches_deleted: Option<Vec<String>>,
        pub space_reclaimed: u64,
    }

    /// The `aux` of the last message of a build.
    pub struct BuildResult {
        #[serde(rename = "ID")]
        pub id: String,
    }
}
