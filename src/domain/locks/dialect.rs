//! (being written)

/// A compiled pattern of holder values.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern;
