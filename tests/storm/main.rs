//! A thousand workloads with ten locks each lose them all at once, since their Redis came back empty: a handful of words
//! and writes for each, and none as soon as it is over. The same cluster then shows that a queue in which nothing is
//! wrong costs nothing at all.
//!
//! | module | |
//! |---|---|
//! | `story` | what happens, and what must come of it |
//! | `crowd` | the resources, and what a watch shows of them |
//! | `holders` | what the application in their pods does to Redis |
//! | `queue` | a queue of jobs, worked by BullMQ itself |
//!
//! All parts are real but the containers: apiserver, controllers, scheduler, KWOK's pods, the operator as a process, Redis.
//! `LOCKSTEP_STORM_RESOURCES=100` makes it smaller.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "test helpers fail by panicking; measured figures are printed"
)]

#[expect(dead_code, reason = "the tests of the operator use more of it")]
#[path = "../operator/audit.rs"]
mod audit;
#[path = "../common/mod.rs"]
mod common;
mod crowd;
mod holders;
#[expect(dead_code, reason = "the tests of the operator use more of it")]
#[path = "../operator/locks.rs"]
mod locks;
#[expect(dead_code, reason = "the tests of the operator use more of it")]
#[path = "../operator/operator.rs"]
mod operator;
#[expect(dead_code, reason = "the tests of the operator use more of it")]
#[path = "../operator/place.rs"]
mod place;
mod queue;
mod story;

use libtest_mimic::{Arguments, Trial};

fn main() {
    let arguments = Arguments::from_args();
    let name = "a_storm_is_one_event_and_a_handful_of_writes_each_and_a_calm_queue_is_none";
    let test = Trial::test(name, || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?
            .block_on(story::run());
        Ok(())
    });
    libtest_mimic::run(&arguments, vec![test]).exit();
}
