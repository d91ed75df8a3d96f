//! What handlers share: each takes the one service it needs with `State<Arc<…::Service>>`.

use std::sync::Arc;

use dray_engine::Engine;

/// The state of the routes.
#[derive(Clone)]
pub struct App {
    /// The services.
    pub engine: Arc<Engine>,
}
