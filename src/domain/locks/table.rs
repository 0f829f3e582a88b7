//! (being written)
/// Ends that are kept per key.
pub const ENDS_PER_KEY: usize = 16;
