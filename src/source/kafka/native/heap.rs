//! The heap of the C library, which librdkafka's buffers live on: our allocator is Rust's only.

/// Gives what is free on it back to the system, for when clients have ended. The C library keeps freed memory in an
/// arena per few threads, each client starts threads of its own, and a new client's may come by other arenas. It walks the
/// heap, a few milliseconds for 100 MiB, and costs nothing while a client works.
pub fn give_back() {
    // SAFETY: takes no pointers, and may be called at any time from any thread (malloc_trim(3)).
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    unsafe {
        libc::malloc_trim(0);
    }
}
