//! `POST /containers/{id}/wait`.

wire! {
    /// How the container ended.
    #[serde(rename_all = "PascalCase")]
    pub struct WaitResponse {
        #[serde(skip_serializing_if = "Option::is_none")]
        pub error: Option<WaitError>,
        pub status_code: i64,
    }

    /// Why waiting failed.
    #[serde(rename_all = "PascalCase")]
    pub struct WaitError {
        #[serde(skip_serializing_if = "String::is_empty")]
        pub message: String,
    }
}
