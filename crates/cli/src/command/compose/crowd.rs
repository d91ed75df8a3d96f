//! The containers of a project whose output is shown: those that are there, and those that come (started again, made
//! anew, scaled up) while it is shown.

use std::collections::{BTreeMap, BTreeSet};

use dray_client::JsonStream;
use dray_client::api::Filters;
use dray_client::api::event::EventMessage;
use dray_compose::plan::label;
use futures_util::StreamExt as _;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;

use super::follow::{Begin, Ended, Follower, Member};
use super::output::without_project;
use super::position::Position;
use crate::command_error::Error;

/// Many containers, followed.
pub struct Crowd<'a> {
    follower: &'a Follower<'a>,
    project: String,
    /// The services whose containers belong to it; none for all.
    services: Option<Vec<String>>,
    running: FuturesUnordered<LocalBoxFuture<'a, Result<Ended, Error>>>,
    followed: BTreeMap<String, Member>,
    /// Those that were started while they were followed: it may be that their follower knows of their end alone.
    started: BTreeSet<String>,
    /// Where those stopped that have ended.
    ended: BTreeMap<String, Position>,
    /// Those that were made, but not started.
    awaited: BTreeSet<String>,
    /// What happens; none once the daemon tells no more of it.
    events: Option<JsonStream<EventMessage>>,
}

impl<'a> Crowd<'a> {
    /// An empty crowd, which knows of all that happens from now on.
    ///
    /// # Errors
    /// The daemon refuses.
    pub async fn of(
        follower: &'a Follower<'a>,
        project: &str,
        services: Option<Vec<String>>,
    ) -> Result<Crowd<'a>, Error> {
        let mut filters = Filters::default();
        filters.add("type", "container");
        filters.add("label", format!("{}={project}", label::PROJECT));
        let events = follower.client.events("", "", &filters).await?;
        Ok(Crowd {
            follower,
            project: project.to_owned(),
            services,
            running: FuturesUnordered::new(),
            followed: BTreeMap::new(),
            started: BTreeSet::new(),
            ended: BTreeMap::new(),
            awaited: BTreeSet::new(),
            events: Some(events),
        })
    }

    /// Follows a container.
    pub fn add(&mut self, member: Member, begin: Begin) {
        self.awaited.remove(&member.id);
        self.followed.insert(member.id.clone(), member.clone());
        self.running.push(Box::pin(self.follower.follow(member, begin)));
    }

    /// Waits for the start of a container.
    pub fn expect(&mut self, id: &str) {
        self.awaited.insert(id.to_owned());
    }

    /// Whether nothing is followed.
    pub fn is_quiet(&self) -> bool {
        self.running.is_empty()
    }

    /// Whether nothing is followed or waited for.
    pub fn is_empty(&self) -> bool {
        self.is_quiet() && self.awaited.is_empty()
    }

    /// Waits for the next one that ends. Nothing is lost if the wait is given up.
    ///
    /// # Errors
    /// A container cannot be followed.
    pub async fn next(&mut self) -> Result<Ended, Error> {
        loop {
            tokio::select! {
                biased;
                Some(ended) = self.running.next(), if !self.running.is_empty() => {
                    if let Some(ended) = self.leave(ended?) {
                        return Ok(ended);
                    }
                }
                event = told(&mut self.events) => self.note(&event),
            }
        }
    }

    fn leave(&mut self, ended: Ended) -> Option<Ended> {
        let member = self.followed.remove(&ended.id);
        if let Some(member) = member.filter(|_| self.started.remove(&ended.id)) {
            self.add(member, Begin::On(ended.position));
            return None;
        }
        self.ended.insert(ended.id.clone(), ended.position.clone());
        Some(ended)
    }

    fn note(&mut self, event: &EventMessage) {
        let (id, attributes) = (&event.actor.id, &event.actor.attributes);
        let service = attributes.get(label::SERVICE).cloned().unwrap_or_default();
        let one_off = attributes.get(label::ONE_OFF).is_some_and(|value| value == "True");
        let others = self.services.as_ref().is_some_and(|services| !services.contains(&service));
        let known =
            self.awaited.contains(id) || self.ended.contains_key(id) || self.followed.contains_key(id);
        if one_off || service.is_empty() || (others && !known) {
            return;
        }
        match event.action.as_str() {
            "create" => self.expect(id),
            "destroy" => {
                self.awaited.remove(id);
                self.ended.remove(id);
            }
            "start" if self.followed.contains_key(id) => {
                self.started.insert(id.clone());
            }
            "start" => {
                let name = attributes.get("name").map(String::as_str).unwrap_or_default();
                let name = without_project(name, &self.project, &service).to_owned();
                let begin = Begin::On(self.ended.remove(id).unwrap_or_default());
                self.add(Member { id: id.clone(), name, service }, begin);
            }
            _ => {}
        }
    }
}

async fn told(events: &mut Option<JsonStream<EventMessage>>) -> EventMessage {
    if let Some(stream) = events
        && let Ok(Some(event)) = stream.next().await
    {
        return event;
    }
    *events = None;
    std::future::pending().await
}
