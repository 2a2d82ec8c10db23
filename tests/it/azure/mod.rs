//! Everything in Azure, by way of Azurite: credentials, leases, what the store may answer, merges and state.
//! `lake` is the container that these tests share.

mod faults;
mod identities;
pub mod lake;
mod owners;
mod pairs;
mod queries;
