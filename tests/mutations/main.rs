//! A mutation campaign over the definition: every field of the spec set, changed, emptied, removed, and set to each wrong
//! kind of value. After each, the children must equal those of a fresh resource with the same spec; after it is taken
//! back, they must equal the first.
//!
//! | module | |
//! |---|---|
//! | `schema` | every field of the definition's `spec` |
//! | `bases` | specs in which each of them stands |
//! | `values` | what is put into a field |
//! | `classes` | changes that were thought of by hand |
//! | `mutations` | all of it together: the list of what is tried |
//! | `exceptions` | the fields for which something can't be had, and why |
//! | `site` | one resource's children on a real apiserver |
//! | `shape` | whether children are what they should be |
//! | `campaign` | each mutation on a fresh resource, as the first change of one, and after all others |
//! | `report` | what is printed |
//!
//! `LOCKSTEP_MUTATIONS=text[,text]` tries only those whose name contains one of the texts.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "test helpers fail by panicking; what was tried is printed"
)]

mod bases;
mod campaign;
mod classes;
#[expect(dead_code, reason = "other tests use more of it")]
#[path = "../common/mod.rs"]
mod common;
mod exceptions;
#[expect(dead_code, reason = "the control-plane tests use more of it")]
#[path = "../control_plane/faults.rs"]
mod faults;
mod mutations;
mod report;
mod schema;
mod shape;
mod site;
mod values;

use libtest_mimic::{Arguments, Trial};

fn main() {
    let arguments = Arguments::from_args();
    let tests = vec![
        Trial::test("every_field_stands_in_a_base_or_is_an_exception", || {
            bases::check();
            Ok(())
        }),
        Trial::test("every_mutation_ends_as_a_fresh_resource_would", || {
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()?
                .block_on(campaign::run())
                .map_err(Into::into)
        }),
    ];
    libtest_mimic::run(&arguments, tests).exit();
}
