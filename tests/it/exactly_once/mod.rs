//! Every record once: processes that are killed, frozen, replaced or upgraded, disks and stores that fail, damaged
//! checkpoints, and queries that Spark hands over or takes over.

#[cfg(any(debug_assertions, feature = "failpoints"))]
mod crash;
#[cfg(any(debug_assertions, feature = "failpoints"))]
mod durable;
pub mod owners;
mod recovery;
mod resume_model;
mod soak;
#[cfg(any(debug_assertions, feature = "failpoints"))]
pub mod storage_faults;
mod takeover;
mod upgrade;
#[cfg(any(debug_assertions, feature = "failpoints"))]
pub mod zombie;
