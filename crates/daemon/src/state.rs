//! What handlers share: each takes the one service it needs with `State<Arc<…::Service>>`.

use std::sync::Arc;

use axum::extract::FromRef;
use dray_engine::{Engine, EventBus, build, container, exec, image, network, system, volume};

use crate::buildkit::BuildKit;

/// The state of the routes.
#[derive(Clone)]
pub struct App {
    engine: Arc<Engine>,
    buildkit: Arc<BuildKit>,
}

impl App {
    /// The routes' state over an engine.
    #[must_use]
    pub fn new(engine: Arc<Engine>) -> Self {
        let buildkit = BuildKit::new(Arc::clone(&engine.builds));
        App { engine, buildkit }
    }

    /// BuildKit's API, for connections that speak nothing else.
    pub(crate) fn buildkit(&self) -> Arc<BuildKit> {
        Arc::clone(&self.buildkit)
    }
}

/// Lets handlers take a service by its type.
macro_rules! services {
    ($($service:ty = $field:ident),* $(,)?) => {$(
        impl FromRef<App> for $service {
            fn from_ref(app: &App) -> Self {
                app.engine.$field.clone()
            }
        }
    )*};
}

services! {
    Arc<container::Service> = containers,
    Arc<exec::Service> = execs,
    Arc<image::Service> = images,
    Arc<build::Service> = builds,
    Arc<system::Service> = system,
    Arc<network::Service> = networks,
    Arc<volume::Service> = volumes,
    EventBus = events,
}

impl FromRef<App> for Arc<BuildKit> {
    fn from_ref(app: &App) -> Self {
        Arc::clone(&app.buildkit)
    }
}

impl FromRef<App> for Arc<Engine> {
    fn from_ref(app: &App) -> Self {
        Arc::clone(&app.engine)
    }
}
