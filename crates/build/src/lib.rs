//! Dockerfile to image: parser, step graph, cache.
