//! `locks --live`: a page of metrics as the operator serves it, and what is shown of it at 80 columns.

use std::collections::BTreeSet;

use lockstep::{
    cli::show::{Page, live},
    telemetry::Telemetry,
};

use super::stories::unfit;

const SERVED: &str = include_str!("metrics.txt");
/// In the page, and not in this operator: one of a later version.
const LATER: &str = "lockstep_something_of_tomorrow";

fn types(page: &str) -> BTreeSet<&str> {
    page.lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .collect()
}

/// The page is as old as the operator's metrics, no older.
#[test]
fn the_page_has_metrics_of_the_operator() {
    let served = Telemetry::default().metrics().unwrap();
    let unknown: Vec<_> = types(SERVED).difference(&types(&served)).copied().collect();
    assert_eq!(unknown, [format!("{LATER} counter")]);
}

#[test]
fn every_series_of_a_set_is_shown() {
    let sets = live::read(SERVED, "prod", "shop").unwrap();
    let shown = live::page(
        "lockstep-system/lockstep-6c8f9d7b54-x2x4z",
        "shop",
        &sets,
        Page::PIPED,
    );
    let text = anstream::adapter::strip_str(&shown).to_string();
    assert_eq!(unfit(&text), Vec::<&str>::new());
    insta::assert_snapshot!(text, @r"
    Counted by lockstep-system/lockstep-6c8f9d7b54-x2x4z since it began to look
    after shop.

    collections (Continuous)
      locks                  Held 3, Orphaned 1
      locks acquired         7
      locks lost             HolderGone 2, Expired 1
      locks released         1
      failover gap           3: median up to 30s, 99% up to 2m
      handover gap           1: median up to 2.5s, 99% up to 2.5s
      long gaps              0
      hold duration          4: median up to 5m, 99% over 7d
      lock late renewals     2
      lock renewal gap       4000: median up to 10s, 99% up to 10s
      set ttl                30s
      balance max locks      2

    nightly jobs (Intermittent)
      locks                  Held 2, Unheld 14
      locks acquired         1204
      locks lost             0
      locks released         1202
      failover gap           none
      handover gap           1201: median up to 1s, 99% up to 5s
      long gaps              0
      hold duration          1202: median up to 1s, 99% up to 10s
      lock late renewals     0
      lock renewal gap       none
      set ttl                90s
      something of tomorrow  5
    ");
}

#[test]
fn other_workloads_and_other_programs_show_nothing() {
    assert_eq!(live::read(SERVED, "test", "shop").unwrap(), []);
    assert_eq!(live::read(SERVED, "prod", "shelf").unwrap(), []);
    assert_eq!(live::read("<html>nginx</html>\n", "prod", "shop"), None);
    assert_eq!(live::read("go_threads 5\n", "prod", "shop"), None);
}
