//! What the tests share: vectors, captures with their answers, and the slow twin of the decision engine.

pub mod answers;
pub mod binary;
pub mod capture;
pub mod corpus;
pub mod frames;
pub mod lab;
pub mod replay;
pub mod twin;
pub mod vectors;
