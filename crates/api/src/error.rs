//! The body of every answer that is an error.

wire! {
    /// `{"message": "…"}`.
    pub struct ErrorResponse {
        pub message: String,
    }
}

impl ErrorResponse {
    /// An error with this text.
    pub fn new(message: impl Into<String>) -> Self {
        ErrorResponse { message: message.into() }
    }
}
