//! The one place where time is read. I/O; everything else is handed the time.

#![expect(
    clippy::disallowed_methods,
    reason = "the one place where the clocks are read"
)]

use std::{sync::OnceLock, time::Duration};

use jiff::Timestamp;
use tokio::time::Instant;

use crate::domain::locks::Mono;

/// What the monotonic clock shows at the start: a moment shortly before it must not be negative.
const HEADROOM: Duration = Duration::from_hours(1);

static START: OnceLock<Instant> = OnceLock::new();

/// Now, on the monotonic clock. Tokio's, so that paused time works in tests.
#[must_use]
pub fn mono() -> Mono {
    Mono(Instant::now().duration_since(*START.get_or_init(Instant::now)) + HEADROOM)
}

/// The tokio instant at which [`mono`] shows `at`; the start if that lies before it.
#[must_use]
pub fn instant(at: Mono) -> Instant {
    let start = *START.get_or_init(Instant::now);
    start + at.0.saturating_sub(HEADROOM)
}

/// Now, on the wall clock: for people, never for verdicts.
#[must_use]
pub fn wall() -> Timestamp {
    Timestamp::now()
}
