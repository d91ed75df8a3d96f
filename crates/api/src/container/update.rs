//! `POST /containers/{id}/update`.

use super::{Resources, RestartPolicy};

wire! {
    /// Limits and restart policy to change; zero values change nothing.
    #[serde(rename_all = "PascalCase")]
    pub struct ContainerUpdateRequest {
        pub restart_policy: RestartPolicy,
    }
    flatten { pub resources: Resources }

    /// Answer of update.
    #[serde(rename_all = "PascalCase")]
    pub struct ContainerUpdateResponse {
        pub warnings: Option<Vec<String>>,
    }
}
