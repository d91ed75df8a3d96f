//! Health checks.

use std::sync::Arc;

use super::live::Container;
use super::service::Service;

impl Service {
    pub(super) fn start_health(self: &Arc<Self>, _container: &Arc<Container>) {}
}
