//! Lists.

use super::Takes::{Any, List, Number as Num, Texts};
use super::{Function, fixed, items, open, str, strs, whole};
use crate::error::Result;
use crate::eval::Machine;
use crate::value::{Mapping, Number, Sequence, Type, Value};

/// The most items that `range` makes, as HCL has it.
const MAX_RANGE: usize = 1024;

pub(super) static ALL: &[Function] = &[
    open("concat", &[], ("seqs", Any), concat),
    fixed("length", &[("collection", Any)], |_, a| match &a[0] {
        Value::List(_, items) => Ok(Number::from(items.all.len()).into()),
        Value::Object(Mapping::Map, members) => Ok(Number::from(members.all.len()).into()),
        _ => Err("collection must be a list, a map or a tuple".into()),
    }),
    fixed("element", &[("list", Any), ("index", Num)], |_, a| {
        let (all, index) = (sequence(&a[0])?, whole(&a[1])?);
        if all.is_empty() {
            return Err("cannot use element function with an empty list".into());
        }
        Ok(all[index.rem_euclid(all.len() as i128) as usize].clone())
    }),
    fixed("index", &[("collection", Any), ("key", Any)], |_, a| {
        at(&a[0], &a[1])?.ok_or_else(|| "invalid index".into())
    }),
    fixed("hasindex", &[("collection", Any), ("key", Any)], |_, a| Ok(at(&a[0], &a[1])?.is_some().into())),
    fixed("indexof", &[("list", Any), ("value", Any)], |_, a| {
        let Value::List(Sequence::List | Sequence::Tuple, all) = &a[0] else {
            return Err("argument must be a list or tuple".into());
        };
        if all.all.is_empty() {
            return Err("cannot search an empty list".into());
        }
        let found = all.all.iter().position(|item| *item == a[1]);
        found.map(|at| Number::from(at).into()).ok_or_else(|| "item not found".into())
    }),
    fixed("contains", &[("list", Any), ("value", Any)], |_, a| {
        let kind = Type::of(&a[1]);
        let same = |item: &Value| *item == a[1] || item.convert(&kind).is_ok_and(|item| item == a[1]);
        Ok(sequence(&a[0])?.iter().any(same).into())
    }),
    open("coalesce", &[], ("vals", super::Takes::Nullable), |_, a| {
        let kind = a.iter().map(Type::of).try_fold(Type::Any, |sum, one| sum.common(&one));
        let kind = kind.ok_or("all arguments must have the same type")?;
        let first = a.iter().find(|value| !value.is_null()).ok_or("no non-null arguments")?;
        Ok(first.convert(&kind)?)
    }),
    open("coalescelist", &[], ("vals", Any), |_, a| {
        let first = a.iter().find(|list| !items(list).is_empty());
        first.cloned().ok_or_else(|| "no non-null arguments".into())
    }),
    fixed("compact", &[("list", Texts)], |_, a| {
        Ok(Value::texts(strs(&a[0]).into_iter().filter(|text| !text.is_empty()).map(str::to_owned)))
    }),
    fixed("distinct", &[("list", List)], |m, a| {
        let mut all: Vec<Value> = Vec::new();
        for item in items(&a[0]) {
            m.charge(all.len() as u64)?;
            if !all.contains(item) {
                all.push(item.clone());
            }
        }
        Ok(Value::list(Sequence::List, all))
    }),
    fixed("flatten", &[("list", Any)], |m, a| {
        sequence(&a[0])?;
        let mut all = Vec::new();
        flatten(m, &a[0], &mut all)?;
        Ok(Value::tuple(all))
    }),
    fixed("reverselist", &[("list", Any)], |_, a| {
        let all = sequence(&a[0])?.iter().rev().cloned().collect();
        let kind =
            if matches!(a[0], Value::List(Sequence::Tuple, _)) { Sequence::Tuple } else { Sequence::List };
        Ok(Value::list(kind, all))
    }),
    fixed("slice", &[("list", Any), ("start_index", Num), ("end_index", Num)], slice),
    fixed("chunklist", &[("list", List), ("size", Num)], |_, a| {
        let size =
            usize::try_from(whole(&a[1])?).map_err(|_| "the size argument must be positive".to_owned())?;
        let all = items(&a[0]);
        let chunks = match size {
            0 => vec![Value::list(Sequence::List, all.to_vec())],
            size => all.chunks(size).map(|chunk| Value::list(Sequence::List, chunk.to_vec())).collect(),
        };
        Ok(Value::list(Sequence::List, chunks))
    }),
    open("range", &[], ("params", Num), range),
    fixed("zipmap", &[("keys", Texts), ("values", Any)], |_, a| {
        let (keys, values) = (strs(&a[0]), sequence(&a[1])?);
        if keys.len() != values.len() {
            let why =
                format!("number of keys ({}) does not match number of values ({})", keys.len(), values.len());
            return Err(why.into());
        }
        let all = keys.into_iter().map(str::to_owned).zip(values.iter().cloned()).collect();
        let kind =
            if matches!(a[1], Value::List(Sequence::Tuple, _)) { Mapping::Object } else { Mapping::Map };
        Ok(Value::object(kind, all))
    }),
];

/// The items of what has an order.
fn sequence(value: &Value) -> Result<&[Value]> {
    match value {
        Value::List(_, items) => Ok(&items.all),
        other => Err(format!("must be a list, a set or a tuple; got {}", Type::of(other).name()).into()),
    }
}

/// What a key leads to, if it leads to something.
fn at(collection: &Value, key: &Value) -> Result<Option<Value>> {
    match collection {
        Value::List(_, items) => {
            let place = match key.convert(&Type::Number)? {
                Value::Number(number) => number.whole().and_then(|n| usize::try_from(n).ok()),
                _ => None,
            };
            Ok(place.and_then(|place| items.all.get(place).cloned()))
        }
        Value::Object(_, members) => Ok(members.all.get(str(&key.convert(&Type::Text)?)).cloned()),
        _ => Err("collection must be a list, a map or a tuple".into()),
    }
}

fn concat(_: &Machine, arguments: &[Value]) -> Result<Value> {
    if arguments.is_empty() {
        return Err("at least one argument is required".into());
    }
    let mut all = Vec::new();
    let mut kind = Sequence::List;
    for argument in arguments {
        match argument {
            Value::List(Sequence::Set, _) => {
                return Err(format!(
                    "all arguments must be lists or tuples; got {}",
                    Type::of(argument).name()
                )
                .into());
            }
            Value::List(one, items) => {
                if *one == Sequence::Tuple {
                    kind = Sequence::Tuple;
                }
                all.extend(items.all.iter().cloned());
            }
            other => {
                return Err(
                    format!("all arguments must be lists or tuples; got {}", Type::of(other).name()).into()
                );
            }
        }
    }
    let list = Value::tuple(all);
    if kind == Sequence::List {
        return Ok(list.convert(&Type::List(Box::new(Type::Any))).unwrap_or(list));
    }
    Ok(list)
}

fn flatten(machine: &Machine, value: &Value, into: &mut Vec<Value>) -> Result<()> {
    for item in items(value) {
        machine.charge(1)?;
        match item {
            Value::List(..) => flatten(machine, item, into)?,
            other => into.push(other.clone()),
        }
    }
    Ok(())
}

fn slice(_: &Machine, a: &[Value]) -> Result<Value> {
    let Value::List(kind @ (Sequence::List | Sequence::Tuple), list) = &a[0] else {
        return Err("cannot slice a set, because its elements do not have indices".into());
    };
    let (start, end) = (whole(&a[1])?, whole(&a[2])?);
    if start < 0 || end < 0 {
        return Err("start and end index must not be less than zero".into());
    }
    if end > list.all.len() as i128 {
        return Err("end index must not be greater than the length of the list".into());
    }
    if start > end {
        return Err("start index must not be greater than end index".into());
    }
    Ok(Value::list(*kind, list.all[start as usize..end as usize].to_vec()))
}

fn range(_: &Machine, a: &[Value]) -> Result<Value> {
    let number = |at: usize| super::num(&a[at]);
    let (zero, one) = (Number::from(0i128), Number::from(1i128));
    let down = |end: Number| end.compare(zero).is_lt();
    let (start, end, step) = match a.len() {
        1 => (zero, number(0), if down(number(0)) { one.negative() } else { one }),
        2 => {
            let backwards = number(1).compare(number(0)).is_lt();
            (number(0), number(1), if backwards { one.negative() } else { one })
        }
        3 => (number(0), number(1), number(2)),
        _ => return Err("must have one, two, or three arguments".into()),
    };
    if step == zero {
        return Err("step must not be zero".into());
    }
    if down(step) == start.compare(end).is_lt() && start != end {
        return Err(format!(
            "end must be {} than start when step is {}",
            if down(step) { "less" } else { "greater" },
            if down(step) { "negative" } else { "positive" }
        )
        .into());
    }
    let (mut all, mut at) = (Vec::new(), start);
    while (down(step) && at.compare(end).is_gt()) || (!down(step) && at.compare(end).is_lt()) {
        if all.len() >= MAX_RANGE {
            return Err(format!("more than {MAX_RANGE} values were generated; either decrease the difference between start and end or use a smaller step").into());
        }
        all.push(Value::Number(at));
        at = at.add(step).ok_or("the number is too large")?;
    }
    Ok(Value::list(Sequence::List, all))
}
