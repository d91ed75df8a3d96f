//! `--device`, `--device-cgroup-rule`, `--gpus`.

use std::path::Path;

use dray_client::api::container::{DeviceMapping, DeviceRequest};

use super::{csv, pairs};

fn is_mode(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b"rwm".contains(&b))
        && text.bytes().enumerate().all(|(i, b)| !text.as_bytes()[..i].contains(&b))
}

/// A device of the Container Device Interface: `vendor.com/class=name`.
pub fn is_cdi(value: &str) -> bool {
    let Some((kind, name)) = value.split_once('=') else { return false };
    let Some((vendor, class)) = kind.split_once('/') else { return false };
    let plain = |t: &str| {
        t.starts_with(|c: char| c.is_ascii_alphanumeric())
            && t.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:".contains(c))
    };
    plain(vendor) && plain(class) && plain(name)
}

/// `host[:container[:mode]]`.
///
/// # Errors
/// It is none; the text is Docker's.
pub fn device(value: &str) -> Result<DeviceMapping, String> {
    let parts: Vec<&str> = value.split(':').collect();
    if parts.len() > 3 || parts[0].is_empty() {
        return Err(format!("bad format for path: {value}"));
    }
    let (inside, mode) = match parts.as_slice() {
        [_, inside, mode] if is_mode(mode) => (*inside, *mode),
        [_, _, mode] => return Err(format!("bad mode specified: {mode}")),
        [host, mode] if is_mode(mode) => (*host, *mode),
        [_, inside] => (*inside, "rwm"),
        _ => (parts[0], "rwm"),
    };
    if !inside.starts_with('/') {
        return Err(format!("{inside} is not an absolute path"));
    }
    Ok(DeviceMapping {
        path_on_host: parts[0].to_owned(),
        path_in_container: super::clean(Path::new(inside)),
        cgroup_permissions: mode.to_owned(),
    })
}

/// `c 1:3 rwm`.
///
/// # Errors
/// It is none; the text is Docker's.
pub fn check_cgroup_rule(value: &str) -> Result<(), String> {
    let number = |t: &str| t == "*" || (!t.is_empty() && t.bytes().all(|b| b.is_ascii_digit()));
    let parts: Vec<&str> = value.split(' ').collect();
    let fine = match parts.as_slice() {
        ["a" | "b" | "c", numbers, mode] => {
            numbers.split_once(':').is_some_and(|(a, b)| number(a) && number(b))
                && (1..=3).contains(&mode.len())
                && mode.bytes().all(|b| b"rwm".contains(&b))
        }
        _ => false,
    };
    if fine { Ok(()) } else { Err(format!("invalid device cgroup format '{value}'")) }
}

/// `all`, `2`, `device=0,capabilities=utility`.
///
/// # Errors
/// It is none; the text is Docker's.
pub fn gpus(value: &str) -> Result<DeviceRequest, String> {
    let mut request = DeviceRequest::default();
    let mut seen: Vec<String> = Vec::new();
    for field in csv(value)? {
        let (key, text) = field.split_once('=').unwrap_or((&field, ""));
        if seen.iter().any(|s| s == key) {
            return Err(format!("gpu request key '{key}' can be specified only once"));
        }
        seen.push(key.to_owned());
        let list = || text.split(',').map(str::to_owned).collect::<Vec<_>>();
        match key {
            _ if !field.contains('=') => {
                seen.push("count".into());
                request.count = count(key)?;
            }
            "driver" => request.driver = text.to_owned(),
            "count" => request.count = count(text)?,
            "device" => request.device_ids = Some(list()),
            "capabilities" => {
                let mut all = list();
                all.push("gpu".into());
                request.capabilities = Some(vec![all]);
            }
            "options" => request.options = Some(pairs(&csv(text)?)),
            _ => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
    }
    if request.device_ids.is_none() && !seen.iter().any(|s| s == "count") {
        request.count = 1;
    }
    request.options.get_or_insert_default();
    request.capabilities.get_or_insert_with(|| vec![vec!["gpu".into()]]);
    Ok(request)
}

/// For the flag's check.
///
/// # Errors
/// As [`gpus`].
pub fn check_gpus(value: &str) -> Result<(), String> {
    gpus(value).map(|_| ())
}

fn count(text: &str) -> Result<i64, String> {
    if text == "all" {
        return Ok(-1);
    }
    text.parse().map_err(|_| {
        format!("invalid count ({text}): value must be either \"all\" or an integer: invalid syntax")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices() {
        let d = device("/dev/null").unwrap();
        assert_eq!((d.path_in_container.as_str(), d.cgroup_permissions.as_str()), ("/dev/null", "rwm"));
        assert_eq!(device("/dev/a:/dev/b:r").unwrap().cgroup_permissions, "r");
        assert_eq!(device("/dev/a:rw").unwrap().path_in_container, "/dev/a");
        assert_eq!(device("a:b:c:d").unwrap_err(), "bad format for path: a:b:c:d");
        assert_eq!(device("/a:/b:x").unwrap_err(), "bad mode specified: x");
        assert!(is_cdi("nvidia.com/gpu=all") && !is_cdi("/dev/x"));
        assert!(check_cgroup_rule("c 1:* rmw").is_ok());
        assert_eq!(check_cgroup_rule("a").unwrap_err(), "invalid device cgroup format 'a'");
        assert_eq!(gpus("all").unwrap().count, -1);
        assert_eq!(gpus("x=foo").unwrap_err(), "unexpected key 'x' in 'x=foo'");
    }
}
