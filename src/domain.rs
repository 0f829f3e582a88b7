//! The pure core: what Lockstep concludes, without a client, a clock or a task.

pub mod children;
pub mod locks;
pub mod workload;
