//! A client of the Engine API, over a unix socket or TCP with TLS.
