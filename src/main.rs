//! The program: reads the command line, runs the command, turns what came of it into an exit code.

use std::process::ExitCode;

use clap::Parser;

/// Flat memory for weeks: glibc's arenas keep what threads free.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

unsafe extern "C" {
    /// mimalloc's default of an option; the environment (`MIMALLOC_…`) still wins.
    fn mi_option_set_default(option: std::ffi::c_int, value: std::ffi::c_long);
}

/// mimalloc 3 keeps freed pages for a second and commits its arenas at once: a stream of small commits was
/// then measured at 200-320 MiB resident, with these two settings at 50-70.
extern "C" fn give_memory_back() {
    const ARENA_EAGER_COMMIT: std::ffi::c_int = 4;
    const PURGE_DELAY_MS: std::ffi::c_int = 15;
    // SAFETY: both are plain stores into mimalloc's table of options; no memory was handed out yet.
    unsafe {
        mi_option_set_default(ARENA_EAGER_COMMIT, 0);
        mi_option_set_default(PURGE_DELAY_MS, 10);
    }
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    trim_the_c_heap();
}

/// librdkafka's buffers lie on the C heap. There the free end of an arena goes back to the system above 128 KiB, by
/// default; but after a large block was freed above twice that block's size, so that every arena kept megabytes (54
/// restarts of a stream: 195 MiB at the peak, 118 when it stays at 128 KiB, 107 without a restart). A threshold that
/// is set stays, and with it that of blocks that are mapped one by one, 128 KiB too: the same CPU was measured. The
/// environment (`MALLOC_TRIM_THRESHOLD_`) still wins.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn trim_the_c_heap() {
    // SAFETY: a look at the environment while there is one thread, and a plain store into malloc's parameters.
    unsafe {
        if libc::getenv(c"MALLOC_TRIM_THRESHOLD_".as_ptr()).is_null() {
            libc::mallopt(libc::M_TRIM_THRESHOLD, 128 * 1024);
        }
    }
}

/// Before `main`, for the first arena is made by the first allocation.
#[used]
#[cfg_attr(target_os = "linux", unsafe(link_section = ".init_array"))]
#[cfg_attr(target_os = "macos", unsafe(link_section = "__DATA,__mod_init_func"))]
static GIVE_MEMORY_BACK: extern "C" fn() = give_memory_back;

fn main() -> ExitCode {
    alluvia::cli::run(alluvia::cli::args::Cli::parse())
}
