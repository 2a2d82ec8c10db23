//! The program: reads the command line, runs the command, turns what came of it into an exit code.

use std::process::ExitCode;

use clap::Parser;

/// Flat memory for weeks: glibc's arenas keep what threads free.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

unsafe extern "C" {
    /// mimalloc's default of an option; the environment (`MIMALLOC_…`) still wins.
    fn mi_option_set_default(option: std::ffi::c_int, value: std::ffi::c_long);
    /// Gives back what is free.
    fn mi_collect(force: bool);
}

/// mimalloc 3 keeps freed pages for a second and commits its arenas at once: a stream of small commits was
/// then measured at 200-320 MiB resident, with pages kept for 10 ms at 50-70. But pages that are given back while a stream is
/// busy are faulted in and cleared again at once: W1 took a fifth less CPU with 200 ms and the C heap below. So they are kept
/// while a stream is busy, and given back when it comes to rest ([`come_to_rest`]).
extern "C" fn set_up_heaps() {
    const ARENA_EAGER_COMMIT: std::ffi::c_int = 4;
    const PURGE_DELAY_MS: std::ffi::c_int = 15;
    // SAFETY: both are plain stores into mimalloc's table of options; no memory was handed out yet.
    unsafe {
        mi_option_set_default(ARENA_EAGER_COMMIT, 0);
        mi_option_set_default(PURGE_DELAY_MS, 200);
    }
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    keep_the_c_heap();
}

/// librdkafka's buffers lie on the C heap, a megabyte each. By default such a block is mapped and unmapped one by one until
/// one was freed, and then every arena keeps twice its size for good. Thresholds that are set stay: blocks up to 4 MiB
/// come from the heap, whose free end goes back above 8 MiB, and the rest of it when a stream comes to rest. Threads share
/// four arenas, for each has such an end, and each restart of a stream brings new threads. The environment
/// (`MALLOC_TRIM_THRESHOLD_`, `MALLOC_MMAP_THRESHOLD_`, `MALLOC_ARENA_MAX`) still wins.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn keep_the_c_heap() {
    let settings = [
        (c"MALLOC_MMAP_THRESHOLD_", libc::M_MMAP_THRESHOLD, 4 << 20),
        (c"MALLOC_TRIM_THRESHOLD_", libc::M_TRIM_THRESHOLD, 8 << 20),
        (c"MALLOC_ARENA_MAX", libc::M_ARENA_MAX, 4),
    ];
    for (name, setting, bytes) in settings {
        // SAFETY: a look at the environment while there is one thread, and a plain store into malloc's parameters.
        unsafe {
            if libc::getenv(name.as_ptr()).is_null() {
                libc::mallopt(setting, bytes);
            }
        }
    }
}

/// Gives back what is free on Rust's heap, and unmaps the program's own pages.
fn come_to_rest() {
    // SAFETY: it locks what it touches, and leaves memory that is in use alone.
    unsafe { mi_collect(true) };
    #[cfg(target_os = "linux")]
    unmap_the_program();
}

/// Unmaps the pages of the program's file: code, constants, the list of relocations. A start or a micro-batch touches 30 to
/// 40 MiB of them, a stream at rest a few. What is needed again is mapped again, from the kernel's cache of the file. Segments
/// that can be written hold changes, and are left alone.
#[cfg(target_os = "linux")]
fn unmap_the_program() {
    unsafe extern "C" fn unmap(
        info: *mut libc::dl_phdr_info,
        _: usize,
        _: *mut std::ffi::c_void,
    ) -> std::ffi::c_int {
        // SAFETY: the loader lends the description of one object for the call.
        let (base, headers) = unsafe {
            let info = &*info;
            (
                info.dlpi_addr as usize,
                std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)),
            )
        };
        // SAFETY: a question with one answer.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
        for segment in headers.iter().filter(|h| h.p_type == libc::PT_LOAD && h.p_flags & libc::PF_W == 0) {
            let start = base + segment.p_vaddr as usize;
            let (first, end) =
                (start.next_multiple_of(page), (start + segment.p_memsz as usize) / page * page);
            if first < end {
                // SAFETY: whole pages of a segment that is mapped from a file and never written: a later access reads the same.
                unsafe { libc::madvise(first as *mut std::ffi::c_void, end - first, libc::MADV_DONTNEED) };
            }
        }
        // The program comes first; libraries after it are not asked for.
        1
    }
    // SAFETY: the callback keeps nothing of what it is given.
    unsafe { libc::dl_iterate_phdr(Some(unmap), std::ptr::null_mut()) };
}

/// Before `main`, for the first arena is made by the first allocation.
#[used]
#[cfg_attr(target_os = "linux", unsafe(link_section = ".init_array"))]
#[cfg_attr(target_os = "macos", unsafe(link_section = "__DATA,__mod_init_func"))]
static SET_UP_HEAPS: extern "C" fn() = set_up_heaps;

fn main() -> ExitCode {
    alluvia::runtime::heap::at_rest(come_to_rest);
    alluvia::cli::run(alluvia::cli::args::Cli::parse())
}
