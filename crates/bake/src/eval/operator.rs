//! Operators.

use std::cmp::Ordering;

use super::{Machine, Scope};
use crate::error::{Failure, Result};
use crate::source::Place;
use crate::syntax::expr::{Expr, Operator};
use crate::value::{Number, Type, Value};

/// `-x`
pub(super) fn negative(value: &Value, place: Place) -> Result<Value> {
    Ok(Value::Number(number(value, "unary", place)?.negative()))
}

/// `!x`
pub(super) fn not(value: &Value, place: Place) -> Result<Value> {
    Ok(Value::Bool(!boolean(value, "unary", place)?))
}

/// `a + b` and all the others.
pub(super) fn binary(
    machine: &Machine,
    left: &Expr,
    operator: Operator,
    right: &Expr,
    scope: &Scope,
    place: Place,
) -> Result<Value> {
    let first = machine.eval(left, scope)?;
    if matches!(operator, Operator::And | Operator::Or) {
        let decides = operator == Operator::Or;
        if boolean(&first, "left", left.place)? == decides {
            return Ok(Value::Bool(decides));
        }
        return Ok(Value::Bool(boolean(&machine.eval(right, scope)?, "right", right.place)?));
    }
    let second = machine.eval(right, scope)?;
    if let Operator::Equal | Operator::NotEqual = operator {
        let size = first.weight().min(second.weight());
        machine.charge(size).map_err(|failure| failure.within("Limit exceeded", place))?;
        return Ok(Value::Bool((first == second) == (operator == Operator::Equal)));
    }
    let (a, b) = (number(&first, "left", left.place)?, number(&second, "right", right.place)?);
    let order = a.compare(b);
    let result = match operator {
        Operator::Less => return Ok(Value::Bool(order == Ordering::Less)),
        Operator::LessOrEqual => return Ok(Value::Bool(order != Ordering::Greater)),
        Operator::Greater => return Ok(Value::Bool(order == Ordering::Greater)),
        Operator::GreaterOrEqual => return Ok(Value::Bool(order != Ordering::Less)),
        Operator::Add => a.add(b),
        Operator::Subtract => a.subtract(b),
        Operator::Multiply => a.multiply(b),
        Operator::Divide => a.divide(b),
        _ => a.modulo(b),
    };
    let why = match operator {
        Operator::Divide | Operator::Modulo if b == Number::from(0i128) => "division by zero",
        _ => "the number is too large",
    };
    let wrong = || Failure::at(place, "Operation failed", format!("Error during operation: {why}."));
    result.map(Value::Number).ok_or_else(wrong)
}

fn operand(value: &Value, kind: &Type, side: &str, place: Place) -> Result<Value> {
    let place_of = |why: String| {
        let operand = if side == "unary" { "unary operand".to_owned() } else { format!("{side} operand") };
        Failure::at(place, "Invalid operand", format!("Unsuitable value for {operand}: {why}."))
    };
    if value.is_null() {
        let why = "argument must not be null";
        return Err(Failure::at(place, "Operation failed", format!("Error during operation: {why}.")));
    }
    value.convert(kind).map_err(place_of)
}

fn number(value: &Value, side: &str, place: Place) -> Result<Number> {
    match operand(value, &Type::Number, side, place)? {
        Value::Number(number) => Ok(number),
        _ => Ok(Number::from(0i128)),
    }
}

fn boolean(value: &Value, side: &str, place: Place) -> Result<bool> {
    Ok(operand(value, &Type::Bool, side, place)? == Value::Bool(true))
}
