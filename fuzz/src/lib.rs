//! What the fuzz targets and the maker of their seeds have in common.

pub mod stream;
