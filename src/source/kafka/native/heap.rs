//! The heap of the C library, which librdkafka's buffers live on: our allocator is Rust's only.

/// Gives what is free on it back to the system. The C library keeps freed memory in an arena per few threads,
/// and every new client starts threads of its own: a process whose stream was started again 250 times, with all that
/// may be fetched waiting, held 200 MiB, and 100 to 130 with this. To be called when clients have ended; it walks the
/// heap, some milliseconds, and the client pays nothing while it works.
pub fn give_back() {
    // SAFETY: takes no pointers, and may be called at any time from any thread (malloc_trim(3)).
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    unsafe {
        libc::malloc_trim(0);
    }
}
