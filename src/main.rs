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
}

/// Before `main`, for the first arena is made by the first allocation.
#[used]
#[cfg_attr(target_os = "linux", unsafe(link_section = ".init_array"))]
#[cfg_attr(target_os = "macos", unsafe(link_section = "__DATA,__mod_init_func"))]
static GIVE_MEMORY_BACK: extern "C" fn() = give_memory_back;

fn main() -> ExitCode {
    alluvia::cli::run(alluvia::cli::args::Cli::parse())
}
