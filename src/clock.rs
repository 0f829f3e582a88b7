//! The one place where time is read. I/O; everything else is handed the time.

#![expect(
    clippy::disallowed_methods,
    reason = "the one place where the clocks are read"
)]

use std::sync::OnceLock;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::domain::locks::Mono;

static START: OnceLock<Instant> = OnceLock::new();

/// Now, on the monotonic clock. Tokio's, so that paused time works in tests.
#[must_use]
pub fn mono() -> Mono {
    // An hour of headroom: a moment shortly before the first call must not be negative.
    Mono(
        Instant::now().duration_since(*START.get_or_init(Instant::now))
            + std::time::Duration::from_secs(3600),
    )
}

/// The tokio instant at which [`mono`] shows `at`; the start if that lies before it.
#[must_use]
pub fn instant(at: Mono) -> Instant {
    let start = *START.get_or_init(Instant::now);
    start + at.0.saturating_sub(std::time::Duration::from_secs(3600))
}

/// Now, on the wall clock: for people, never for verdicts.
#[must_use]
pub fn wall() -> Timestamp {
    Timestamp::now()
}
