//! The operator as its users meet it: the program `lockstep run`, a real apiserver with its controllers, KWOK's pods, a
//! real Redis; and what `kubectl` shows of it. One control plane for the run; each test has its own namespace, operator
//! (with the documented rights and no more) and Redis. They wait far more than they compute, so that more of them run at
//! a time than there are cores: hence a `main` of its own, with the command line of every other test.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "test helpers fail by panicking; measured figures are printed"
)]

mod audit;
mod balance;
#[path = "../common/certificates.rs"]
mod certificates;
mod children;
#[path = "../common/mod.rs"]
mod common;
mod conflicts;
mod examples;
#[expect(dead_code, reason = "the control-plane tests use more of it")]
#[path = "../control_plane/faults.rs"]
mod faults;
mod handover;
mod health;
mod kill;
mod leader;
mod lifecycle;
mod locks;
mod loss;
mod manifest;
mod metrics;
mod names;
mod namespaces;
mod neighbours;
mod operator;
mod place;
mod refused;
mod replicas;
mod rest;
mod rights;
mod rollback;
mod secrets;
mod shows;
mod silence;
mod states;
mod store;
#[path = "../common/worker.rs"]
mod worker;

use libtest_mimic::{Arguments, Trial};

/// Tests at a time.
const THREADS: usize = 6;

/// `module::test` as a test of that name.
macro_rules! tests {
    ($($module:ident::$name:ident),+ $(,)?) => {
        vec![$(
            Trial::test(concat!(stringify!($module), "::", stringify!($name)), || {
                tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(2)
                    .enable_all()
                    .build()?
                    .block_on($module::$name());
                Ok(())
            })
        ),+]
    };
}

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(THREADS);
    // The longest first.
    let tests = tests![
        rest::two_hundred_resources_at_rest_cost_watches_only_and_a_restart_writes_nothing,
        rest::five_hundred_resources_are_looked_at_again_without_a_request,
        examples::all_examples_run_and_rest,
        leader::a_paused_leader_is_replaced_and_writes_nothing_when_it_goes_on,
        replicas::no_wrong_count_whoever_scales_and_whichever_way_it_changes,
        kill::killed_after_any_request_of_a_life_it_comes_to_the_same,
        kill::killed_after_any_request_around_a_loss_it_says_what_it_showed_and_nothing_twice,
        lifecycle::deleted_and_created_a_hundred_times_under_load_the_last_has_everything,
        names::a_short_name_is_the_redis_of_the_resources_own_namespace,
        loss::a_restarted_container_orphans_its_lock_and_loses_it_when_the_key_expires,
        loss::a_pod_that_went_with_two_locks_is_one_incident_until_both_are_taken_again,
        loss::a_live_pod_that_stops_renewing_loses_its_lock_as_expired,
        store::away_for_longer_than_the_ttl_is_an_outage_and_no_loss,
        store::away_shortly_and_back_empty_is_one_loss_by_the_store,
        store::a_store_that_hangs_while_its_locks_live_on_lost_nothing,
        secrets::a_password_is_rotated_without_a_gap_whichever_side_changes_first,
        secrets::every_kind_of_store_is_reached_with_what_its_secrets_hold,
        states::a_holder_of_another_workload_is_named_in_its_namespace_only,
        states::every_wrong_state_is_in_its_row_and_the_worst_in_the_verdict,
        metrics::a_loss_is_counted_once_and_what_went_leaves_no_series,
        metrics::prometheus_answers_every_query_of_the_dashboard_and_the_rules,
        health::it_waits_for_the_definition_says_so_and_goes_on_when_it_comes,
        health::a_right_to_watch_that_is_missing_is_named_until_it_is_granted,
        namespaces::each_of_several_namespaces_is_worked_in_and_one_without_rights_holds_up_none,
        health::a_taken_port_ends_the_start_with_words,
        leader::two_without_an_election_come_to_the_same_and_rest,
        handover::a_rolling_update_of_workers_that_release_warns_nobody,
        kill::killed_at_twenty_points_of_a_first_reconcile_of_fifty_it_comes_to_the_same,
        balance::four_locks_on_one_of_three_pods_are_concentrated_until_they_are_spread,
        rollback::from_every_broken_state_the_good_manifest_heals,
        lifecycle::suspended_it_changes_nothing_and_tells_everything_until_it_is_resumed,
        lifecycle::let_go_by_orphaning_the_children_run_on_and_are_taken_back_without_a_rollout,
        lifecycle::a_new_spec_does_not_wait_for_one_that_never_comes_to_run,
        silence::nothing_read_from_redis_and_no_credential_leaves_the_process,
        shows::a_deployment_scaled_by_kubectl_is_scaled_back_only_where_the_spec_says_a_number,
        shows::what_kubectl_edits_is_put_right_where_lockstep_sets_it_and_kept_elsewhere,
        shows::what_kubectl_deletes_comes_back_and_the_autoscaler_finds_its_count,
        shows::a_changed_image_is_one_write_and_kubectl_waits_for_exactly_that_spec,
        shows::a_restart_by_kubectl_replaces_the_pods_and_nothing_is_changed_back,
        conflicts::a_rival_is_answered_ever_more_rarely_and_a_new_spec_at_once,
        conflicts::a_change_by_hand_is_taken_back_at_once_and_said,
        conflicts::another_controllers_deployment_is_left_alone_and_the_controller_named,
        conflicts::a_deployment_of_kubectl_is_adopted_by_one_rollout,
        conflicts::an_owner_reference_that_goes_is_said_and_taken_back_only_by_leave,
        refused::a_quota_that_is_used_up_is_named_and_nothing_else_waits,
        refused::what_a_policy_denies_stalls_in_the_policys_words_and_pods_that_are_denied_are_said,
        refused::a_policy_that_changes_an_owned_field_back_is_a_fight_with_nobody,
        rights::without_any_one_of_its_rights_the_operator_lives_and_says_which_it_misses,
        refused::a_right_that_is_missing_is_named_and_its_grant_heals,
        refused::a_namespace_that_goes_is_left_in_peace_and_its_successor_served,
        refused::a_deployment_too_large_for_the_store_stalls_until_it_is_shorter,
        neighbours::a_second_autoscaler_is_named_until_it_goes,
        neighbours::replicas_that_others_set_are_put_back_and_an_autoscaler_that_insists_is_braked,
        neighbours::a_budget_over_the_same_pods_is_named_until_it_goes,
        neighbours::a_budget_that_blocks_every_drain_is_said_until_it_allows_one,
        children::a_deployment_that_lockstep_did_not_make_is_left_alone_and_said,
        children::a_variable_removed_as_the_first_change_goes_and_replicas_stay,
        manifest::a_manifest_becomes_four_children_and_kubectl_shows_the_truth,
        manifest::a_spec_that_cannot_be_used_stalls_and_creates_nothing_until_it_is_corrected,
    ];
    let ended = libtest_mimic::run(&arguments, tests);
    // Only all of them together use all that is granted.
    let whole = arguments.filter.is_none() && arguments.skip.is_empty() && !arguments.list;
    if whole && !ended.has_failed() {
        rights::each_was_used();
    }
    ended.exit();
}
