//! Bounds of the C library's allocator.

/// Lets all threads share two arenas and gives freed memory back early. glibc otherwise makes one
/// arena per core and keeps what each has grown to, which is most of an idle daemon's memory.
pub fn bound() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt(3) takes two integers and changes only the allocator's own settings.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 256 << 10);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 128 << 10);
    }
}
