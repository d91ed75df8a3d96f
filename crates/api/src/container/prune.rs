//! `POST /containers/prune`.

wire! {
    /// What was removed.
    #[serde(rename_all = "PascalCase")]
    pub struct ContainersPruneReport {
        pub containers_deleted: Option<Vec<String>>,
        pub space_reclaimed: u64,
    }
}
