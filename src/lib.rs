pub mod failpoint;
pub mod model;
pub mod config;
pub mod storage;
pub mod observe;
pub mod source;
pub mod table;
pub mod checkpoint;
