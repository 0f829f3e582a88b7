//! A world that knows the truth about its locks: pods, processes, lock libraries, a server with its expiry, evictions,
//! failovers, flushes and clocks, a network, and an operator that sees of all this only what it can see.
//!
//! A history is drawn from a seed ([`plan`]), played in simulated time through the real table and the real core
//! ([`world`]), and everything that is concluded, said and written is held against the truth ([`oracle`]). That the
//! truth would notice is shown with implementations that are wrong ([`wrong`]). Pure: no I/O, no clock.

pub mod cluster;
pub mod operator;
pub mod oracle;
pub mod plan;
pub mod server;
pub mod world;
pub mod wrong;
