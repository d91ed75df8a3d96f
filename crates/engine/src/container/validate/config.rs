//! The portable part: environment, working directory, stop signal, health check.

use dray_api::container::{ContainerConfig, HealthConfig};

use super::Invalid;
use crate::container::mount::clean;
use crate::container::signal;

/// Longest host name of Linux.
const HOSTNAME: usize = 64;
/// Shortest time of a health check, in nanoseconds.
const SHORTEST: i64 = 1_000_000;

/// Checks the configuration and cleans its working directory.
///
/// # Errors
/// For the first thing that cannot be.
pub fn config(config: &mut ContainerConfig) -> Result<(), Invalid> {
    if !config.working_dir.is_empty() {
        if !config.working_dir.starts_with('/') {
            return Err(Invalid::WorkingDir(config.working_dir.clone()));
        }
        config.working_dir = clean(&config.working_dir);
    }
    if !config.stop_signal.is_empty() {
        signal::parse(&config.stop_signal).map_err(|error| Invalid::Signal(error.to_string()))?;
    }
    if let Some(env) = config.env.iter().flatten().find(|env| env.is_empty() || env.starts_with('=')) {
        return Err(Invalid::Env(env.clone()));
    }
    if let Some(port) = config.exposed_ports.iter().flat_map(|ports| ports.keys()).find(|port| !is_port(port))
    {
        return Err(Invalid::Port(port.clone()));
    }
    if config.hostname.len() > HOSTNAME {
        return Err(Invalid::HostnameTooLong(config.hostname.clone()));
    }
    for target in config.volumes.iter().flat_map(|volumes| volumes.keys()) {
        crate::container::mount::check_target(target)?;
    }
    config.healthcheck.as_ref().map_or(Ok(()), healthcheck)
}

/// Checks a health check.
///
/// # Errors
/// For times below a millisecond and negative retries.
pub fn healthcheck(check: &HealthConfig) -> Result<(), Invalid> {
    let times = [
        ("Interval", check.interval),
        ("Timeout", check.timeout),
        ("StartPeriod", check.start_period),
        ("StartInterval", check.start_interval),
    ];
    if let Some((name, _)) = times.iter().find(|(_, time)| *time != 0 && *time < SHORTEST) {
        return Err(Invalid::HealthDuration(name));
    }
    if check.retries < 0 {
        return Err(Invalid::HealthRetries);
    }
    Ok(())
}

/// Whether this is `80`, `80/tcp`, `80-90/udp` or the like.
pub(super) fn is_port(port: &str) -> bool {
    let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
    let valid = |text: &str| text.parse::<u16>().is_ok_and(|n| n > 0);
    let (from, to) = number.split_once('-').unwrap_or((number, number));
    matches!(protocol, "tcp" | "udp" | "sctp") && valid(from) && valid(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(edit: impl FnOnce(&mut ContainerConfig)) -> String {
        let mut given = ContainerConfig::default();
        edit(&mut given);
        config(&mut given).unwrap_err().to_string()
    }

    #[test]
    fn refuses_in_dockers_words() {
        assert_eq!(
            refused(|c| c.working_dir = "rel".into()),
            "the working directory 'rel' is invalid, it needs to be an absolute path"
        );
        assert_eq!(refused(|c| c.stop_signal = "SIGNOPE".into()), "Invalid signal: SIGNOPE");
        assert_eq!(refused(|c| c.env = Some(vec!["=x".into()])), "invalid environment variable: =x");
        assert!(refused(|c| c.hostname = "h".repeat(65)).ends_with("is too long (maximum 64 bytes)"));
        assert_eq!(
            refused(|c| c.healthcheck = Some(HealthConfig { interval: 5, ..HealthConfig::default() })),
            "Interval in Healthcheck cannot be less than 1ms"
        );
        assert_eq!(
            refused(|c| c.exposed_ports = Some([("0/tcp".into(), dray_api::Empty)].into())),
            "invalid port specification: \"0/tcp\""
        );
    }

    #[test]
    fn cleans_the_working_directory() {
        let mut given = ContainerConfig { working_dir: "/a/../b/".into(), ..ContainerConfig::default() };
        config(&mut given).unwrap();
        assert_eq!(given.working_dir, "/b");
    }
}
