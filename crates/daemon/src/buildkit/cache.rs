//! The build cache as `docker buildx du` and `docker buildx prune` see it.

use std::sync::Arc;

use dray_api::Filters;
use dray_api::build::CacheRecord;
use dray_buildkit::grpc::{Code, Reply, Status};
use dray_buildkit::proto::Timestamp;
use dray_buildkit::proto::control::{DiskUsageRequest, DiskUsageResponse, PruneRequest, UsageRecord};
use dray_engine::build::PruneOptions;

use super::{BuildKit, failure};

impl BuildKit {
    pub(super) async fn disk_usage(&self, request: &DiskUsageRequest) -> Result<DiskUsageResponse, Status> {
        let wanted = conditions(&request.filter)?;
        let records = self.records().await?;
        let fits = |record: &UsageRecord| wanted.iter().all(|(field, value)| fits(record, field, value));
        Ok(DiskUsageResponse { record: records.iter().map(to_wire).filter(fits).collect() })
    }

    pub(super) async fn prune(&self, request: PruneRequest) -> Result<Reply, Status> {
        let options = prune_options(&request)?;
        let before = self.records().await?;
        let builds = Arc::clone(&self.builds);
        let pruned = tokio::task::spawn_blocking(move || builds.prune(&options));
        let report = pruned.await.map_err(failure::internal)?.map_err(failure::engine)?;
        let gone = report.caches_deleted.unwrap_or_default();
        let (sender, reply) = Reply::many();
        tokio::spawn(async move {
            for record in before.iter().filter(|record| gone.contains(&record.id)) {
                if !sender.send(&to_wire(record)).await {
                    return;
                }
            }
        });
        Ok(reply)
    }

    async fn records(&self) -> Result<Vec<CacheRecord>, Status> {
        let builds = Arc::clone(&self.builds);
        let records = tokio::task::spawn_blocking(move || builds.cache());
        records
            .await
            .map_err(failure::internal)?
            .map_err(|error| Status::new(Code::Unknown, error.to_string()))
    }
}

fn prune_options(request: &PruneRequest) -> Result<PruneOptions, Status> {
    let mut filters = Filters::default();
    for (field, value) in conditions(&request.filter)? {
        filters.add(field, value);
    }
    if request.keep_duration > 0 {
        filters.add("unused-for", format!("{}ns", request.keep_duration));
    }
    let bytes = |n: i64| u64::try_from(n).unwrap_or(0);
    Ok(PruneOptions {
        all: request.all,
        reserved_space: bytes(request.reserved_space),
        max_used_space: bytes(request.max_used_space),
        min_free_space: bytes(request.min_free_space),
        filters,
    })
}

/// Filters in containerd's language, as far as clients send them: `field==value`, joined by commas.
fn conditions(filters: &[String]) -> Result<Vec<(String, String)>, Status> {
    let one = |text: &str| {
        let unquoted = |text: &str| text.trim_matches('"').to_owned();
        let found = text.split_once("==").filter(|(_, value)| !value.starts_with('~'));
        found.map(|(field, value)| (unquoted(field), unquoted(value))).ok_or_else(|| {
            Status::new(Code::InvalidArgument, format!("filter {text:?} is not supported: use field==value"))
        })
    };
    filters.iter().flat_map(|filter| filter.split(',')).filter(|text| !text.is_empty()).map(one).collect()
}

fn fits(record: &UsageRecord, field: &str, value: &str) -> bool {
    match field {
        "id" => record.id == value,
        "type" => record.record_type == value,
        "description" => record.description == value,
        "inuse" => record.in_use.to_string() == value,
        "shared" => record.shared.to_string() == value,
        "private" => (!record.shared).to_string() == value,
        "parent" | "parents" => record.parents.iter().any(|parent| parent == value),
        _ => false,
    }
}

fn to_wire(record: &CacheRecord) -> UsageRecord {
    UsageRecord {
        id: record.id.clone(),
        mutable: record.kind != "regular",
        in_use: record.in_use,
        size: record.size,
        created_at: time(&record.created_at),
        last_used_at: record.last_used_at.as_deref().and_then(time),
        usage_count: record.usage_count,
        description: record.description.clone(),
        record_type: record.kind.clone(),
        shared: record.shared,
        parents: record.parents.clone(),
    }
}

fn time(text: &str) -> Option<Timestamp> {
    let time: jiff::Timestamp = text.parse().ok()?;
    Some(Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_pairs() {
        let pairs = conditions(&["type==regular,inuse==\"false\"".into()]).expect("filters");
        let pair = |field: &str, value: &str| (field.to_owned(), value.to_owned());
        assert_eq!(pairs, [pair("type", "regular"), pair("inuse", "false")]);
        assert!(conditions(&["id~=a.*".into()]).is_err());
    }
}
