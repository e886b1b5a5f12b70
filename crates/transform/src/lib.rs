
pub mod definition;
