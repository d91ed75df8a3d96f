//! Sets.

use super::Takes::Any;
use super::{Function, fixed, items, open};
use crate::error::Result;
use crate::eval::Machine;
use crate::value::{Sequence, Type, Value};

pub(super) static ALL: &[Function] = &[
    fixed("sethaselement", &[("set", Any), ("elem", Any)], |_, a| {
        Ok(items(&set(&a[0])?).contains(&a[1]).into())
    }),
    open("setunion", &[("first_set", Any)], ("other_sets", Any), |m, a| {
        fold(m, a, |mut left, right| {
            left.extend(right);
            left
        })
    }),
    open("setintersection", &[("first_set", Any)], ("other_sets", Any), |m, a| {
        fold(m, a, |left, right| left.into_iter().filter(|item| right.contains(item)).collect())
    }),
    fixed("setsubtract", &[("a", Any), ("b", Any)], |m, a| {
        fold(m, a, |left, right| left.into_iter().filter(|item| !right.contains(item)).collect())
    }),
    open("setsymmetricdifference", &[("first_set", Any)], ("other_sets", Any), |m, a| {
        fold(m, a, |left, right| {
            let only = |these: &[Value], those: &[Value]| -> Vec<Value> {
                these.iter().filter(|item| !those.contains(item)).cloned().collect()
            };
            [only(&left, &right), only(&right, &left)].concat()
        })
    }),
    open("setproduct", &[], ("sets", Any), product),
];

fn set(value: &Value) -> Result<Value> {
    Ok(value.convert(&Type::Set(Box::new(Type::Any)))?)
}

/// All sets, of one type, one after another.
fn fold(
    machine: &Machine,
    arguments: &[Value],
    with: fn(Vec<Value>, Vec<Value>) -> Vec<Value>,
) -> Result<Value> {
    let sets: Vec<Value> = arguments.iter().map(set).collect::<Result<_>>()?;
    let kind = sets.iter().map(Type::of).try_fold(Type::Any, |sum, one| sum.common(&one));
    let kind = kind.ok_or("given sets must all have compatible element types")?;
    let mut result: Option<Vec<Value>> = None;
    for one in &sets {
        let all = items(&one.convert(&kind)?).to_vec();
        result = Some(match result {
            None => all,
            Some(before) => {
                machine.charge((before.len() as u64).saturating_mul(all.len() as u64))?;
                with(before, all)
            }
        });
    }
    Ok(Value::set(result.unwrap_or_default()))
}

/// Each item of the first with each of the second, and so on.
fn product(machine: &Machine, arguments: &[Value]) -> Result<Value> {
    if arguments.len() < 2 {
        return Err("at least two arguments are required".into());
    }
    if !arguments.iter().all(|argument| matches!(argument, Value::List(..))) {
        return Err("a set or a list is required".into());
    }
    let count = arguments.iter().fold(1u64, |count, one| count.saturating_mul(items(one).len() as u64));
    machine.check_size(count.saturating_mul(arguments.len() as u64))?;
    let mut rows: Vec<Vec<Value>> = vec![Vec::new()];
    for argument in arguments {
        let longer = |row: &Vec<Value>| -> Vec<Vec<Value>> {
            items(argument).iter().map(|item| row.iter().cloned().chain([item.clone()]).collect()).collect()
        };
        rows = rows.iter().flat_map(longer).collect();
    }
    let all: Vec<Value> = rows.into_iter().map(Value::tuple).collect();
    let sets = arguments.iter().all(|one| matches!(one, Value::List(Sequence::Set, _)));
    Ok(if sets { Value::set(all) } else { Value::list(Sequence::List, all) })
}
