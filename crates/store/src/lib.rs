//! Bytes on disk: blobs, unpacked layers, volumes, and the records that name them.
