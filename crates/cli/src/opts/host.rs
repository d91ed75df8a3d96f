//! `--add-host`, `--dns`, `--dns-search`, `--link`, `--mac-address`, `--attach`.

use std::net::IpAddr;

/// `name:address` or `name=address`, as the API takes it.
///
/// # Errors
/// It is none; the text is Docker's.
pub fn extra_host(value: &str) -> Result<String, String> {
    let bad = || format!("bad format for add-host: {}", dray_spec::golang::quoted(value));
    let (name, address) = value.split_once('=').or_else(|| value.split_once(':')).ok_or_else(bad)?;
    if name.is_empty() || name.contains(':') {
        return Err(bad());
    }
    let address = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    if address != "host-gateway" && address.parse::<IpAddr>().is_err() {
        return Err(format!("invalid IP address in add-host: {}", dray_spec::golang::quoted(address)));
    }
    Ok(format!("{name}:{address}"))
}

/// For the flag's check.
///
/// # Errors
/// As [`extra_host`].
pub fn check_extra_host(value: &str) -> Result<(), String> {
    extra_host(value).map(|_| ())
}

/// An IP address.
///
/// # Errors
/// It is none; the text is Docker's.
pub fn check_ip(value: &str) -> Result<(), String> {
    match value.trim().parse::<IpAddr>() {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("IP address is not correctly formatted: {value}")),
    }
}

/// An IP address of `--ip`, in pflag's words.
///
/// # Errors
/// It is none.
pub fn check_ip_flag(value: &str) -> Result<(), String> {
    match value.trim().parse::<IpAddr>() {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("failed to parse IP: \"{value}\"")),
    }
}

/// A domain for `--dns-search`; `.` means none.
///
/// # Errors
/// It is none; the text is Docker's.
pub fn check_dns_search(value: &str) -> Result<(), String> {
    let domain = value.trim();
    if domain == "." {
        return Ok(());
    }
    let label = |l: &str| {
        !l.is_empty()
            && l.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    let fine = domain.len() < 255
        && domain.chars().any(|c| c.is_ascii_alphabetic())
        && domain.strip_suffix('.').unwrap_or(domain).split('.').all(label);
    if fine { Ok(()) } else { Err(format!("{value} is not a valid domain")) }
}

/// `name[:alias]`.
///
/// # Errors
/// It is none; the text is Docker's.
pub fn check_link(value: &str) -> Result<(), String> {
    if value.is_empty() {
        return Err("empty string specified for links".into());
    }
    if value.matches(':').count() > 1 {
        return Err(format!("bad format for links: {value}"));
    }
    Ok(())
}

/// `stdin`, `stdout` or `stderr`.
///
/// # Errors
/// It is none; the text is Docker's.
pub fn check_attach(value: &str) -> Result<(), String> {
    match value.to_lowercase().as_str() {
        "stdin" | "stdout" | "stderr" => Ok(()),
        _ => Err("valid streams are STDIN, STDOUT and STDERR".into()),
    }
}

/// `sysctl=value` of a namespaced part of the kernel.
///
/// # Errors
/// It is none; the text is Docker's.
pub fn check_sysctl(value: &str) -> Result<(), String> {
    let known = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    let refused = || format!("sysctl '{value}' is not allowed");
    let (name, _) = value.split_once('=').ok_or_else(refused)?;
    if known.contains(&name) || name.starts_with("net.") || name.starts_with("fs.mqueue.") {
        return Ok(());
    }
    Err(refused())
}

/// A hardware address.
pub fn is_mac(value: &str) -> bool {
    let value = value.trim();
    let sep = if value.contains('-') { '-' } else { ':' };
    let parts: Vec<&str> = value.split(sep).collect();
    matches!(parts.len(), 6 | 8 | 20)
        && parts.iter().all(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        assert_eq!(extra_host("a:1.2.3.4").unwrap(), "a:1.2.3.4");
        assert_eq!(extra_host("a=[::1]").unwrap(), "a:::1");
        assert_eq!(extra_host("a:host-gateway").unwrap(), "a:host-gateway");
        assert_eq!(extra_host("foo").unwrap_err(), "bad format for add-host: \"foo\"");
        assert_eq!(extra_host("a:b").unwrap_err(), "invalid IP address in add-host: \"b\"");
        assert_eq!(check_ip("foo").unwrap_err(), "IP address is not correctly formatted: foo");
        assert!(check_dns_search("example.com").is_ok() && check_dns_search("a b").is_err());
        assert_eq!(check_sysctl("foo").unwrap_err(), "sysctl 'foo' is not allowed");
        assert!(check_sysctl("net.core.somaxconn=1").is_ok());
        assert!(is_mac("92:d0:c6:0a:29:33") && !is_mac("92:d0"));
    }
}
