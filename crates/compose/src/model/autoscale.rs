//! `x-dray-autoscale`: how many containers a service has, by what they have to do. The daemon scales; it reads this from
//! a label of the containers.
//!
//! ```yaml
//! x-dray-autoscale:
//!   min: 1                 # default 1
//!   max: 8
//!   target: {cpu: 60%}     # of one CPU, on average; or connections: 50; with both, what asks for more counts
//!   up_after: 3s           # so long it has to be too much,
//!   down_after: 1m         # so long too little
//! ```

use super::field::{Field, mismatch};
use super::kind::Duration;
use super::service::Service;
use crate::error::Error;
use crate::parse::node::{Node, Path};

/// The name of the extension field.
pub const NAME: &str = "x-dray-autoscale";

const SECOND: i64 = 1_000_000_000;

/// What a service is scaled by.
#[derive(Clone, Debug, PartialEq)]
pub struct Autoscale {
    /// As few containers.
    pub min: u32,
    /// As many containers.
    pub max: u32,
    /// Percent of one CPU that one is to use.
    pub cpu: Option<u32>,
    /// Connections that one is to have.
    pub connections: Option<u32>,
    /// How long it has to be too much before more are started.
    pub up_after: Duration,
    /// How long it has to be too little before some are stopped.
    pub down_after: Duration,
}

impl Autoscale {
    /// That of a service, if it is scaled.
    pub fn of(service: &Service) -> Option<Self> {
        let node = service.extensions.get(NAME)?;
        Self::read(node, &Path::of(NAME)).ok()
    }

    /// Reads it.
    ///
    /// # Errors
    /// A name is not known, a value is of the wrong type, or makes no sense.
    pub fn read(node: &Node, path: &Path) -> Result<Self, Error> {
        known(node, path, &["min", "max", "target", "up_after", "down_after"])?;
        let min = field(node, path, "min")?.unwrap_or(1);
        let Some(max) = field(node, path, "max")? else {
            return Err(Error::rule(node.at, format!("{path}: max must be set")));
        };
        let (Some(target), at) = (node.get("target"), path.next("target")) else {
            return Err(Error::rule(node.at, format!("{path}: target must be set: cpu or connections")));
        };
        known(target, &at, &["cpu", "connections"])?;
        let made = Autoscale {
            min,
            max,
            cpu: target.get("cpu").map(|cpu| percent(cpu, &at.next("cpu"))).transpose()?,
            connections: field(target, &at, "connections")?,
            up_after: field(node, path, "up_after")?.unwrap_or(Duration(3 * SECOND)),
            down_after: field(node, path, "down_after")?.unwrap_or(Duration(60 * SECOND)),
        };
        let refuse = |at: &Node, path: &Path, text: &str| Err(Error::rule(at.at, format!("{path}: {text}")));
        match &made {
            made if made.min == 0 => refuse(node, path, "min must be at least 1"),
            made if made.max < made.min => refuse(node, path, "max must not be less than min"),
            made if made.cpu.is_none() && made.connections.is_none() => {
                refuse(target, &at, "cpu or connections must be set")
            }
            made if made.cpu == Some(0) || made.connections == Some(0) => {
                refuse(target, &at, "cpu and connections must be more than 0")
            }
            _ => Ok(made),
        }
    }

    /// What the daemon reads, in milliseconds and percent.
    pub fn label(&self) -> String {
        let after = |duration: Duration| duration.0 / 1_000_000;
        serde_json::json!({
            "min": self.min,
            "max": self.max,
            "cpu": self.cpu,
            "connections": self.connections,
            "up_after": after(self.up_after),
            "down_after": after(self.down_after),
        })
        .to_string()
    }

    /// How many containers a service has when it is brought up: as many as it has got to, or what the files say.
    pub fn replicas(&self, there: usize, said: i64) -> usize {
        let (min, max) = (self.min as usize, self.max as usize);
        let wanted = if there == 0 { usize::try_from(said).unwrap_or(min) } else { there };
        wanted.clamp(min, max)
    }
}

fn known(node: &Node, path: &Path, names: &[&str]) -> Result<(), Error> {
    let map = node.map().ok_or_else(|| mismatch(node, path, "mapping"))?;
    match map.iter().find(|(name, _)| !names.contains(&name.as_str()) && !name.starts_with("x-")) {
        None => Ok(()),
        Some((name, value)) => {
            let text = format!("{path} additional properties '{name}' not allowed: {}", names.join(", "));
            Err(Error::rule(value.key, text))
        }
    }
}

fn field<T: Field>(node: &Node, path: &Path, name: &str) -> Result<Option<T>, Error> {
    node.get(name).map(|value| T::read(value, &path.next(name))).transpose()
}

/// `60` or `60%`.
fn percent(node: &Node, path: &Path) -> Result<u32, Error> {
    let text = node.text().unwrap_or_default();
    let number = text.strip_suffix('%').unwrap_or(&text).trim();
    number.parse().map_err(|_| Error::rule(node.at, format!("{path}: not a percentage: {text:?}")))
}
