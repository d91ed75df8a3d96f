//! Encodings and sums.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dray_spec::golang::query_escaped;
use md5::Md5;
use ring::digest;
use sha2::{Digest as _, Sha256, Sha512};

use super::Takes::{Nullable, Number as Num, Text};
use super::{Function, fixed, open, str, whole};
use crate::error::Result;
use crate::eval::Machine;
use crate::value::{Mapping, Sequence, Value, json};

pub(super) static ALL: &[Function] = &[
    fixed("base64encode", &[("str", Text)], |_, a| Ok(STANDARD.encode(str(&a[0])).into())),
    fixed("base64decode", &[("str", Text)], |_, a| {
        let bytes = STANDARD
            .decode(str(&a[0]))
            .map_err(|_| format!("failed to decode base64 data '{}'", str(&a[0])))?;
        let text = String::from_utf8(bytes);
        Ok(text.map_err(|_| "the result of decoding the provided string is not valid UTF-8")?.into())
    }),
    fixed("urlencode", &[("str", Text)], |_, a| Ok(query_escaped(str(&a[0])).into())),
    fixed("jsonencode", &[("val", Nullable)], |_, a| Ok(json::compact(&a[0]).into())),
    fixed("jsondecode", &[("str", Text)], |_, a| Ok(json::read(str(&a[0]))?)),
    fixed("csvdecode", &[("str", Text)], |_, a| csv_decode(str(&a[0]))),
    fixed("md5", &[("str", Text)], |_, a| Ok(hex::encode(Md5::digest(str(&a[0]))).into())),
    fixed("sha1", &[("str", Text)], |_, a| {
        Ok(hex::encode(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, str(&a[0]).as_bytes())).into())
    }),
    fixed("sha256", &[("str", Text)], |_, a| Ok(hex::encode(Sha256::digest(str(&a[0]))).into())),
    fixed("sha512", &[("str", Text)], |_, a| Ok(hex::encode(Sha512::digest(str(&a[0]))).into())),
    open("bcrypt", &[("str", Text)], ("cost", Num), bcrypt),
    fixed("rsadecrypt", &[("ciphertext", Text), ("privatekey", Text)], |_, _| {
        Err("rsadecrypt is not supported: pass what is secret as a secret of the target".into())
    }),
    fixed("uuidv4", &[], |_, _| {
        let mut bytes = [0; 16];
        let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
        Ok(uuid(bytes, 4).into())
    }),
    fixed("uuidv5", &[("namespace", Text), ("name", Text)], |_, a| uuid_of(str(&a[0]), str(&a[1]))),
];

fn bcrypt(machine: &Machine, a: &[Value]) -> Result<Value> {
    let cost = a.get(1).map(whole).transpose()?.unwrap_or(10);
    // Each further step doubles the time.
    let cost = u32::try_from(cost).ok().filter(|cost| (4..=14).contains(cost));
    let cost = cost.ok_or("the cost must be between 4 and 14")?;
    machine.charge(1 << (cost + 12))?;
    Ok(::bcrypt::hash(str(&a[0]), cost).map_err(|error| error.to_string())?.into())
}

fn uuid(mut bytes: [u8; 16], version: u8) -> String {
    bytes[6] = (bytes[6] & 0x0f) | (version << 4);
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let text = hex::encode(bytes);
    format!("{}-{}-{}-{}-{}", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..])
}

/// A name in a namespace, which is a UUID or one of those of RFC 4122.
fn uuid_of(namespace: &str, name: &str) -> Result<Value> {
    let known = match namespace {
        "dns" => "6ba7b8109dad11d180b400c04fd430c8",
        "url" => "6ba7b8119dad11d180b400c04fd430c8",
        "oid" => "6ba7b8129dad11d180b400c04fd430c8",
        "x500" => "6ba7b8149dad11d180b400c04fd430c8",
        other => &other.replace('-', ""),
    };
    let space = hex::decode(known).ok().filter(|bytes| bytes.len() == 16);
    let space = space.ok_or_else(|| format!("uuidv5() doesn't support namespace {namespace}"))?;
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &[&space, name.as_bytes()].concat());
    let first = hash.as_ref().first_chunk::<16>().copied().unwrap_or_default();
    Ok(uuid(first, 5).into())
}

/// Rows by the names of the first one.
fn csv_decode(text: &str) -> Result<Value> {
    let mut lines = text.lines().filter(|line| !line.is_empty());
    let head = crate::csv::fields(lines.next().ok_or("missing header line")?)?;
    let mut rows = Vec::new();
    for line in lines {
        let fields = crate::csv::fields(line)?;
        if fields.len() != head.len() {
            return Err("wrong number of fields".into());
        }
        let row: BTreeMap<String, Value> =
            head.iter().cloned().zip(fields.into_iter().map(Value::from)).collect();
        rows.push(Value::object(Mapping::Object, row));
    }
    Ok(Value::list(Sequence::List, rows))
}
