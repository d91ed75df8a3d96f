//! What services share: networks, volumes, configs, secrets, models.

use std::collections::BTreeMap;

use super::data::{Data, Form};
use super::field::{Field, shape};
use super::kind::{Labels, Mapping, Options};

shape! {
    /// A network.
    #[allow(missing_docs, reason = "fields carry the specification's own names and are documented by it")]
    pub struct Network {
        name: String,
        driver: String,
        driver_opts: Options,
        ipam: Ipam,
        external: bool,
        internal: bool,
        attachable: bool,
        labels: Labels,
        enable_ipv4: Option<bool>,
        enable_ipv6: Option<bool>,
    }
}

shape! {
    /// How a network's addresses are given.
    #[allow(missing_docs, reason = "fields carry the specification's own names and are documented by it")]
    pub struct Ipam {
        driver: String,
        config: Vec<IpamPool>,
    }
}

shape! {
    /// A pool of addresses.
    #[allow(missing_docs, reason = "fields carry the specification's own names and are documented by it")]
    pub struct IpamPool {
        subnet: String,
        gateway: String,
        ip_range: String,
        aux_addresses: Mapping,
    }
}

shape! {
    /// A volume.
    #[allow(missing_docs, reason = "fields carry the specification's own names and are documented by it")]
    pub struct Volume {
        name: String,
        driver: String,
        driver_opts: Options,
        external: bool,
        labels: Labels,
    }
}

shape! {
    /// A config or secret.
    #[allow(missing_docs, reason = "fields carry the specification's own names and are documented by it")]
    pub struct FileObject {
        name: String,
        file: String,
        environment: String,
        content: String,
        external: bool,
        labels: Labels,
        driver: String,
        driver_opts: BTreeMap<String, String>,
        template_driver: String,
    }
}

/// A config: content that came from the environment is not written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config(pub FileObject);

/// A secret: its content is never written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Secret(pub FileObject);

impl Field for Config {
    fn read(
        node: &crate::parse::node::Node,
        path: &crate::parse::node::Path,
    ) -> Result<Self, crate::error::Error> {
        FileObject::read(node, path).map(Config)
    }
    fn write(&self, form: Form) -> Data {
        let mut shown = self.0.clone();
        if !shown.environment.is_empty() {
            shown.content.clear();
        }
        shown.write(form)
    }
    fn omitted(&self, _: Form) -> bool {
        false
    }
}

impl Field for Secret {
    fn read(
        node: &crate::parse::node::Node,
        path: &crate::parse::node::Path,
    ) -> Result<Self, crate::error::Error> {
        let mut secret = FileObject::read(node, path)?;
        secret.content.clear();
        if let Some(content) = secret.extensions.remove("x-#value") {
            secret.content = String::read(&content, path)?;
        }
        Ok(Secret(secret))
    }
    fn write(&self, form: Form) -> Data {
        FileObject { content: String::new(), ..self.0.clone() }.write(form)
    }
    fn omitted(&self, _: Form) -> bool {
        false
    }
}

shape! {
    /// An AI model.
    #[allow(missing_docs, reason = "fields carry the specification's own names and are documented by it")]
    pub struct Model {
        name: String,
        model: String,
        context_size: i64,
        runtime_flags: Vec<String>,
    }
}
