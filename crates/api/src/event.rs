//! `GET /events`.

use crate::json::{Labels, empty};

wire! {
    /// Something that happened.
    pub struct EventMessage {
        /// Old name of `action`, repeated for old clients (containers and images).
        #[serde(skip_serializing_if = "empty")]
        pub status: String,
        /// Old name of `actor.id`.
        #[serde(skip_serializing_if = "empty")]
        pub id: String,
        /// Old name of the actor's image.
        #[serde(skip_serializing_if = "empty")]
        pub from: String,
        /// `container`, `image`, `network`, `volume`, `builder` or `daemon`.
        #[serde(rename = "Type")]
        pub kind: String,
        #[serde(rename = "Action")]
        pub action: String,
        #[serde(rename = "Actor")]
        pub actor: EventActor,
        #[serde(skip_serializing_if = "empty")]
        pub scope: String,
        #[serde(skip_serializing_if = "empty")]
        pub time: i64,
        #[serde(rename = "timeNano", skip_serializing_if = "empty")]
        pub time_nano: i64,
    }

    /// What it happened to.
    pub struct EventActor {
        #[serde(rename = "ID")]
        pub id: String,
        #[serde(rename = "Attributes")]
        pub attributes: Labels,
    }
}
