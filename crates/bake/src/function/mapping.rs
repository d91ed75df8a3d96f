//! Objects and maps.

use super::Takes::{Any, Nullable, Text};
use super::{Function, fixed, open, str};
use crate::error::Result;
use crate::value::{Mapping, Members, Sequence, Type, Value};

pub(super) static ALL: &[Function] = &[
    open("merge", &[], ("maps", Nullable), |_, a| {
        let mut all = std::collections::BTreeMap::new();
        for argument in a.iter().filter(|argument| !argument.is_null()) {
            match argument {
                Value::Object(_, members) => {
                    all.extend(members.all.iter().map(|(k, v)| (k.clone(), v.clone())))
                }
                other => {
                    let kind = Type::of(other).name();
                    return Err(format!("arguments must be maps or objects, got {kind:?}").into());
                }
            }
        }
        let maps = !a.is_empty() && a.iter().all(|one| matches!(one, Value::Object(Mapping::Map, _)));
        Ok(Value::object(if maps { Mapping::Map } else { Mapping::Object }, all))
    }),
    fixed("lookup", &[("inputMap", Any), ("key", Text), ("default", Nullable)], |_, a| {
        let Value::Object(kind, members) = &a[0] else {
            return Err("lookup() requires a map as the first argument".into());
        };
        if let Some(found) = members.all.get(str(&a[1])) {
            return Ok(found.clone());
        }
        match (kind, Type::of(&a[0])) {
            (Mapping::Map, Type::Map(item)) => {
                let fits = a[2].convert(&item);
                Ok(fits.map_err(|_| "the default value must have the same type as the map elements")?)
            }
            _ => Ok(a[2].clone()),
        }
    }),
    fixed("keys", &[("inputMap", Any)], |_, a| {
        let (kind, members) = mapping(&a[0])?;
        let keys = members.all.keys().map(|key| Value::from(key.as_str())).collect();
        Ok(Value::list(kind, keys))
    }),
    fixed("values", &[("mapping", Any)], |_, a| {
        let (kind, members) = mapping(&a[0])?;
        Ok(Value::list(kind, members.all.values().cloned().collect()))
    }),
];

/// The members, and what kind of list comes of them.
fn mapping(value: &Value) -> Result<(Sequence, &Members)> {
    match value {
        Value::Object(Mapping::Map, members) => Ok((Sequence::List, members)),
        Value::Object(Mapping::Object, members) => Ok((Sequence::Tuple, members)),
        _ => Err("must have map or object type".into()),
    }
}
