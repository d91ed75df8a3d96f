//! Which records a client asks for: BuildKit's filters. A filter is a list of conditions that all hold; of several
//! filters one must.
//!
//! ```text
//! ref~=…  repository~=…  status==completed|error|canceled|running   and !=
//! startedAt>=…  completedAt<…  duration>…                            a time, or so long ago
//! ```

use dray_buildkit::grpc::Status;
use dray_engine::build::history::record::{BuildRecord, Outcome};
use dray_spec::golang::parse_duration;
use jiff::{SignedDuration, Timestamp};

use crate::buildkit::failure::invalid;

/// One filter.
#[derive(Debug, PartialEq)]
pub(super) struct Filter(Vec<Condition>);

#[derive(Debug, PartialEq)]
enum Condition {
    Text { field: String, not: bool, contains: bool, value: String },
    Number { field: String, order: Order, value: i64 },
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Order {
    Less,
    AtMost,
    More,
    AtLeast,
}

impl Filter {
    pub(super) fn parse(text: &str, now: Timestamp) -> Result<Self, Status> {
        let fields = text.split(',').map(|field| field.trim_matches('"')).filter(|field| !field.is_empty());
        fields.map(|field| Condition::parse(field, now)).collect::<Result<_, _>>().map(Filter)
    }

    pub(super) fn fits(&self, record: &BuildRecord) -> bool {
        self.0.iter().all(|condition| condition.fits(record))
    }
}

/// The longest first: `>=` is no `>`.
const ORDERS: [(&str, Order); 4] =
    [(">=", Order::AtLeast), ("<=", Order::AtMost), (">", Order::More), ("<", Order::Less)];

impl Condition {
    fn parse(text: &str, now: Timestamp) -> Result<Self, Status> {
        for (sign, not, contains) in
            [("~=", false, true), ("!=", true, false), ("==", false, false), ("=", false, false)]
        {
            if let Some((field, value)) = text.split_once(sign)
                && matches!(field, "ref" | "repository" | "status")
            {
                let (field, value) = (field.to_owned(), value.to_owned());
                return Ok(Condition::Text { field, not, contains, value });
            }
        }
        for (sign, order) in ORDERS {
            if let Some((field, value)) = text.split_once(sign) {
                let value = number(field, value, now)?;
                return Ok(Condition::Number { field: field.to_owned(), order, value });
            }
        }
        Err(invalid(format!("failed to parse history filters {text}")))
    }

    fn fits(&self, record: &BuildRecord) -> bool {
        match self {
            Condition::Text { field, not, contains, value } => {
                let actual = text_of(record, field);
                let equal = if *contains { actual.contains(value.as_str()) } else { actual == *value };
                equal != *not
            }
            Condition::Number { field, order, value } => {
                let actual = number_of(record, field);
                match order {
                    Order::Less => actual < *value,
                    Order::AtMost => actual <= *value,
                    Order::More => actual > *value,
                    Order::AtLeast => actual >= *value,
                }
            }
        }
    }
}

/// A length of time in nanoseconds; a point of time in seconds, given as such or as so long ago.
fn number(field: &str, value: &str, now: Timestamp) -> Result<i64, Status> {
    let duration = parse_duration(value).ok();
    match (field, duration) {
        ("duration", Some(nanos)) => Ok(nanos),
        ("duration", None) => Err(invalid(format!("invalid duration {value}"))),
        ("startedAt" | "completedAt", Some(nanos)) => {
            Ok((now - SignedDuration::from_nanos(nanos)).as_second())
        }
        ("startedAt" | "completedAt", None) => {
            let time: Timestamp = value.parse().map_err(|_| invalid(format!("invalid time {value}")))?;
            Ok(time.as_second())
        }
        _ => Err(invalid(format!("unsupported filter {field:?}"))),
    }
}

fn number_of(record: &BuildRecord, field: &str) -> i64 {
    match (field, record.completed) {
        ("startedAt", _) => record.created.as_second(),
        ("completedAt", Some(completed)) => completed.as_second(),
        ("duration", Some(completed)) => {
            i64::try_from(completed.duration_since(record.created).as_nanos()).unwrap_or(i64::MAX)
        }
        _ => 0,
    }
}

fn text_of(record: &BuildRecord, field: &str) -> String {
    let attr = |name: &str| record.attrs.get(name).cloned();
    match field {
        "ref" => record.id.clone(),
        "status" => match record.outcome() {
            Outcome::Running => "running",
            Outcome::Completed => "completed",
            Outcome::Failed => "error",
            Outcome::Cancelled => "canceled",
        }
        .to_owned(),
        _ => attr("vcs:source").or_else(|| attr("context").filter(|c| c.contains("://"))).unwrap_or_default(),
    }
}

/// The records that one of the filters fits; all if there are none.
pub(crate) fn filtered(records: Vec<BuildRecord>, filters: &[&str]) -> Result<Vec<BuildRecord>, Status> {
    let now = Timestamp::now();
    let filters = filters.iter().map(|text| Filter::parse(text, now)).collect::<Result<Vec<_>, _>>()?;
    let fits = |record: &BuildRecord| filters.is_empty() || filters.iter().any(|filter| filter.fits(record));
    Ok(records.into_iter().filter(fits).collect())
}

#[cfg(test)]
mod tests {
    use dray_engine::build::history::record::Failure;

    use super::*;

    fn record() -> BuildRecord {
        let created: Timestamp = "2026-01-02T03:04:05Z".parse().expect("a time");
        BuildRecord {
            id: "abc".into(),
            created,
            completed: Some(created + SignedDuration::from_secs(90)),
            failure: Some(Failure::default()),
            attrs: [("vcs:source".to_owned(), "https://host.example/x".to_owned())].into(),
            ..BuildRecord::default()
        }
    }

    #[test]
    fn filters_are_buildkit_s() {
        let now: Timestamp = "2026-01-02T04:00:00Z".parse().expect("a time");
        let fits = |text: &str| Filter::parse(text, now).expect(text).fits(&record());
        for text in [
            "ref~=b",
            "status==error",
            "status!=completed,repository~=host.example",
            "duration>1m",
            "startedAt<=30m",
            "\"completedAt>2026-01-01T00:00:00Z\"",
        ] {
            assert!(fits(text), "{text}");
        }
        for text in
            ["ref==b", "status==error,duration<1m", "startedAt>30m", "repository!=https://host.example/x"]
        {
            assert!(!fits(text), "{text}");
        }
        for text in ["what", "other=x", "duration>x", "startedAt>x"] {
            assert!(Filter::parse(text, now).is_err(), "{text}");
        }
    }
}
