//! Small programs that hold locks with the real libraries, installed and driven for tests.
//!
//! Values of locks that a test needs should be made by the library whose locks they are, and a test that says "taken,
//! renewed, killed" should see the library do that. So there is one program per library (`tests/workers/README.md`),
//! all with one protocol, and [`Worker`] starts and commands any of them:
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use lockstep_cluster::{Redis, RedisOptions};
//! use lockstep_workers::{Library, Options, Worker};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let redis = Redis::start(RedisOptions::default())?;
//! let options = Options::new(redis.url(), "orders").ttl(Duration::from_secs(3));
//! let mut worker = Worker::start(Library::BullMq, &options.owner("orders-0"))?;
//! worker.take()?;
//! println!("{} renews {}", worker.version(), worker.key());
//! let mut heir = Worker::start(Library::BullMq, &Options::new(redis.url(), "orders"))?;
//! heir.ask_to_take()?;
//! worker.kill()?;
//! heir.await_taken()?;
//! heir.release()?;
//! # Ok(())
//! # }
//! ```
//!
//! What a library needs is installed once into the cache folder of `lockstep-cluster`, from the lock files of this
//! repository; what the machine lacks (Node, Python, Java, Maven) is named, or installed where that can be done.
//!
//! # Code map
//! - `library`: which libraries there are, and what a test may rely on. Pure.
//! - `install`: puts a library where it can run (I/O).
//! - `worker`: one running program (I/O).

mod error;
mod install;
mod library;
mod worker;

pub use error::Error;
pub use library::{Library, OwnerIn};
pub use worker::{Event, Options, Worker};
