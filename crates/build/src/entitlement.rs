//! What a request for a build lets its `RUN` steps have beyond what any container has. A Dockerfile may come from
//! anywhere: what it asks for by itself is refused.

/// BuildKit's entitlements, as `--allow` gives them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entitlements {
    /// `network.host`: `RUN --network=host`.
    pub network_host: bool,
    /// `security.insecure`: `RUN --security=insecure`.
    pub security_insecure: bool,
    /// `device`: `RUN --device`.
    pub device: bool,
}

/// An entitlement that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid entitlement {0:?}")]
pub struct UnknownEntitlement(String);

impl Entitlements {
    /// Reads the names of entitlements; what stands behind `=` limits them to something and is passed over.
    ///
    /// # Errors
    /// For a name that nobody knows.
    pub fn parse<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, UnknownEntitlement> {
        let mut given = Entitlements::default();
        for name in names {
            match name.split_once('=').map_or(name, |(name, _)| name) {
                "network.host" => given.network_host = true,
                "security.insecure" => given.security_insecure = true,
                "device" => given.device = true,
                _ => return Err(UnknownEntitlement(name.to_owned())),
            }
        }
        Ok(given)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entitlements_are_known_by_name() {
        let given = Entitlements::parse(["network.host", "device=vendor.com/gpu"]).expect("known");
        assert!(given.network_host && given.device && !given.security_insecure);
        let error = Entitlements::parse(["network.hos"]).expect_err("unknown").to_string();
        assert_eq!(error, "invalid entitlement \"network.hos\"");
    }
}
