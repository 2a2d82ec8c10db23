pub mod model;
pub mod storage;
pub mod table;
pub mod checkpoint;
