//! Real libraries hold locks in a real Redis; what the operator's observer and judgement make of them, from being taken
//! to being taken over.
//!
//! `table.rs` has a row per library, with the set that a resource would have. The values of the libraries that don't run
//! here (.NET, PHP) are in `recorded.rs`.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

mod life;
mod recorded;
#[path = "../common/rights.rs"]
mod rights;
mod scene;
mod table;

use libtest_mimic::{Arguments, Trial};
use lockstep_workers::Library;

use crate::table::Row;

fn main() {
    let mut arguments = Arguments::from_args();
    // These tests wait; the machine has time for several of them.
    arguments.test_threads = arguments.test_threads.or(Some(6));
    let all = table::rows();
    for library in Library::ALL {
        let rows = all.iter().filter(|row| row.library == library).count();
        assert_eq!(rows, usize::from(library != Library::Semaphore), "{library}");
    }
    let mut trials = Vec::new();
    for row in all {
        let row: &'static Row = Box::leak(Box::new(row));
        let mut add = |name: &str, case: fn(&Row)| {
            trials.push(Trial::test(format!("{}::{name}", row.library), move || {
                case(row);
                Ok(())
            }));
        };
        add(
            "is_taken_renewed_and_released",
            life::is_taken_renewed_and_released,
        );
        add(
            "has_the_dialect_s_time_to_live",
            life::has_the_dialect_s_time_to_live,
        );
        if row.library.is_shared() {
            add(
                "is_nobody_s_while_several_have_it",
                life::is_nobody_s_while_several_have_it,
            );
        } else {
            add(
                "outlives_its_killed_holder_and_is_taken_over",
                life::outlives_its_killed_holder_and_is_taken_over,
            );
        }
        if row.untold().is_some() {
            add(
                "is_in_good_hands_that_nobody_knows",
                life::is_in_good_hands_that_nobody_knows,
            );
        }
    }
    let others: [(&str, fn()); 6] = [
        (
            "jobs_of_every_queue_are_found_by_their_prefix",
            life::jobs_of_every_queue_are_found_by_their_prefix,
        ),
        (
            "a_queue_is_read_through_its_own_index",
            life::a_queue_is_read_through_its_own_index,
        ),
        (
            "locks_under_a_prefix_are_found_by_one_scan_and_then_announced",
            life::locks_under_a_prefix_are_found_by_one_scan_and_then_announced,
        ),
        (
            "values_of_libraries_that_do_not_run_here",
            recorded::values_of_libraries_that_do_not_run_here,
        ),
        (
            "what_no_library_writes_is_malformed",
            recorded::what_no_library_writes_is_malformed,
        ),
        (
            "a_key_of_another_type_is_malformed",
            recorded::a_key_of_another_type_is_malformed,
        ),
    ];
    trials.extend(others.map(|(name, case)| {
        Trial::test(name, move || {
            case();
            Ok(())
        })
    }));
    libtest_mimic::run(&arguments, trials).exit();
}
