//! What a container's processes are and did: `/top` and `/changes`.

wire! {
    /// Answer of `GET /containers/{id}/top`.
    #[serde(rename_all = "PascalCase")]
    pub struct ContainerTop {
        pub processes: Vec<Vec<String>>,
        pub titles: Vec<String>,
    }

    /// A path that differs from the image: kind 0 modified, 1 added, 2 deleted.
    #[serde(rename_all = "PascalCase")]
    pub struct FilesystemChange {
        pub kind: u8,
        pub path: String,
    }
}
