//! The repository against its own rules: the page of guarantees, the layers, the words. No test here starts anything.

mod adding;
mod circles;
mod guarantees;
mod imports;
mod layers;
mod words;
