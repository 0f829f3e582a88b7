//! The observer against a real Redis.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests are tests"
)]

#[path = "common/certificates.rs"]
mod certificates;
#[path = "observer/cluster.rs"]
mod cluster;
#[path = "observer/endpoints.rs"]
mod endpoints;
#[path = "observer/faults.rs"]
mod faults;
#[path = "observer/forms.rs"]
mod forms;
#[path = "observer/holds.rs"]
mod holds;
#[path = "observer/proxy.rs"]
mod proxy;
#[path = "observer/renewals.rs"]
mod renewals;
#[path = "common/rights.rs"]
mod rights;
#[path = "observer/scale.rs"]
mod scale;
#[path = "observer/sentinel.rs"]
mod sentinel;
#[path = "observer/store.rs"]
mod store;
#[path = "observer/support.rs"]
mod support;
#[path = "observer/tls.rs"]
mod tls;
#[path = "observer/truth.rs"]
mod truth;
