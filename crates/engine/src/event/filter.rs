//! Which events a `filters` parameter lets through.

use dray_api::Filters;
use dray_api::event::EventMessage;
use dray_spec::Reference;

/// Filters that name the actor of one type of event, by id or name or the beginning of either.
const ACTORS: &[&str] =
    &["container", "daemon", "network", "node", "plugin", "secret", "service", "volume", "config"];
/// Actions whose names go on after a colon; their filters match by the beginning.
const OPEN_ENDED: &[&str] = &["health_status", "exec_create", "exec_start"];

/// Whether the event passes all filters.
pub fn matches(filters: &Filters, event: &EventMessage) -> bool {
    if filters.is_empty() {
        return true;
    }
    let actor = &event.actor;
    let name = actor.attributes.get("name").map(String::as_str).unwrap_or_default();
    action(filters, &event.action)
        && filters.exact("type", &event.kind)
        && filters.exact("scope", &event.scope)
        && ACTORS.iter().all(|kind| filters.prefix(kind, &actor.id) || filters.prefix(kind, name))
        && image(filters, event)
        && filters.labels("label", &actor.attributes)
}

fn action(filters: &Filters, action: &str) -> bool {
    if filters.get("event").any(|value| OPEN_ENDED.contains(&value)) {
        return filters.prefix("event", action);
    }
    filters.exact("event", action)
}

/// An image filter lets through the events of the image and of containers made from it, with or
/// without its tag.
fn image(filters: &Filters, event: &EventMessage) -> bool {
    if !filters.contains("image") {
        return true;
    }
    let attribute = if event.kind == "image" { "name" } else { "image" };
    let named = event.actor.attributes.get(attribute).map(String::as_str).unwrap_or_default();
    [event.actor.id.as_str(), named]
        .iter()
        .any(|image| filters.exact("image", image) || filters.exact("image", &without_tag(image)))
}

fn without_tag(image: &str) -> String {
    Reference::parse(image).map_or_else(|_| image.to_owned(), |reference| reference.familiar_name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use dray_api::Labels;
    use dray_api::event::EventActor;

    fn event(kind: &str, action: &str, id: &str, attributes: &[(&str, &str)]) -> EventMessage {
        let attributes: Labels = attributes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        EventMessage {
            kind: kind.into(),
            action: action.into(),
            scope: "local".into(),
            actor: EventActor { id: id.into(), attributes },
            ..EventMessage::default()
        }
    }

    fn passes(filters: &str, event: &EventMessage) -> bool {
        matches(&Filters::parse(filters).unwrap(), event)
    }

    #[test]
    fn each_filter() {
        let attributes = [("name", "web"), ("image", "nginx:1.2"), ("tier", "front")];
        let start = event("container", "start", "abcdef", &attributes);
        assert!(passes(r#"{"container":["web"]}"#, &start) && passes(r#"{"container":["abc"]}"#, &start));
        assert!(!passes(r#"{"container":["db"]}"#, &start));
        assert!(passes(r#"{"image":["nginx"]}"#, &start) && passes(r#"{"image":["nginx:1.2"]}"#, &start));
        assert!(!passes(r#"{"image":["redis"]}"#, &start));
        assert!(passes(r#"{"type":["container"],"event":["start","die"]}"#, &start));
        assert!(!passes(r#"{"event":["die"]}"#, &start));
        assert!(
            passes(r#"{"label":["tier=front"]}"#, &start) && !passes(r#"{"label":["tier=back"]}"#, &start)
        );
        let health = event("container", "health_status: healthy", "abcdef", &[]);
        assert!(passes(r#"{"event":["health_status"]}"#, &health));
        assert!(!passes(r#"{"network":["n"]}"#, &start));
    }
}
