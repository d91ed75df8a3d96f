//! The commands: docker's command line, over the Engine API.
