//! HTTP routes of the Engine API over the engine's services.
