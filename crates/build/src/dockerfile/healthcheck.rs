//! `HEALTHCHECK`.

use crate::dockerfile::error::{Fault, Located};
use crate::dockerfile::flag::{Flags, Takes};
use crate::dockerfile::syntax::{Args, Call, Word};
use dray_spec::golang::parse_duration;

/// How the container's health is checked. Times are nanoseconds; 0 stands for the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", …]`.
    pub test: Vec<String>,
    /// Time between checks.
    pub interval: i64,
    /// Time that one check may take.
    pub timeout: i64,
    /// Time at the start during which failures do not count.
    pub start_period: i64,
    /// Time between checks during that time.
    pub start_interval: i64,
    /// Failures in a row that make the container unhealthy.
    pub retries: i64,
}

const FLAGS: [(&str, Takes); 5] = [
    ("interval", Takes::One),
    ("timeout", Takes::One),
    ("start-period", Takes::One),
    ("start-interval", Takes::One),
    ("retries", Takes::One),
];

pub(super) fn interpret(call: &Call) -> Result<Healthcheck, Located> {
    let Args::Health(kind, rest) = &call.args else {
        return Err(Fault::AtLeastOneArgument("HEALTHCHECK").at(call.name.at.clone()));
    };
    let (json, words) = match rest.as_ref() {
        Args::Json(words) => (true, words.as_slice()),
        Args::Words(words) => (false, words.as_slice()),
        _ => (false, &[] as &[Word]),
    };
    match kind.text.to_uppercase().as_str() {
        "NONE" if words.is_empty() => {
            return Ok(Healthcheck { test: vec!["NONE".to_owned()], ..Healthcheck::default() });
        }
        "NONE" => return Err(Fault::HealthcheckNone.at(words[0].at.clone())),
        _ => {}
    }
    let flags = Flags::parse(&call.flags, &FLAGS)?;
    if kind.text.to_uppercase() != "CMD" {
        return Err(Fault::HealthcheckType(kind.text.to_uppercase()).at(kind.at.clone()));
    }
    if words.is_empty() {
        return Err(Fault::HealthcheckCommand.at(kind.at.clone()));
    }
    let mut test = vec![if json { "CMD" } else { "CMD-SHELL" }.to_owned()];
    test.extend(words.iter().map(|word| word.text.clone()));
    Ok(Healthcheck {
        test,
        interval: interval(&flags, "interval")?,
        timeout: interval(&flags, "timeout")?,
        start_period: interval(&flags, "start-period")?,
        start_interval: interval(&flags, "start-interval")?,
        retries: retries(&flags)?,
    })
}

fn interval(flags: &Flags, name: &str) -> Result<i64, Located> {
    let Some((text, at)) = flags.located(name).filter(|(text, _)| !text.is_empty()) else { return Ok(0) };
    match parse_duration(text) {
        Err(error) => Err(Fault::Duration(error).at(at)),
        Ok(nanos) if nanos != 0 && nanos < 1_000_000 => Err(Fault::IntervalTooShort(name.to_owned()).at(at)),
        Ok(nanos) => Ok(nanos),
    }
}

fn retries(flags: &Flags) -> Result<i64, Located> {
    let Some((text, at)) = flags.located("retries").filter(|(text, _)| !text.is_empty()) else {
        return Ok(0);
    };
    match text.parse::<i64>() {
        Ok(number) if i32::try_from(number).is_err() => {
            Err(Fault::Number(text.to_owned(), "value out of range").at(at))
        }
        Ok(number) if number < 0 => Err(Fault::NegativeRetries(number).at(at)),
        Ok(number) => Ok(number),
        Err(_) => Err(Fault::Number(text.to_owned(), "invalid syntax").at(at)),
    }
}
