//! Tells Lockstep's first stories on a local cluster, with the commands a user would type.

fn main() {}
