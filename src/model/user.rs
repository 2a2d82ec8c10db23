//! The user as whom the process runs.

/// The user's number, which files that the process makes belong to.
pub fn id() -> u32 {
    // SAFETY: the call only reads a number of the process, and can't fail.
    unsafe { libc::geteuid() }
}
