//! Backoff of one object: 1 s, doubled to 5 min, with full jitter. Pure but for the dice.

use std::{
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

use crate::domain::locks::Mono;

const FIRST: Duration = Duration::from_secs(1);
const LAST: Duration = Duration::from_mins(5);

/// How often an attempt failed in a row, and when the next may be made.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Backoff {
    failures: u32,
    until: Option<Mono>,
}

impl Backoff {
    /// Whether an attempt may be made.
    #[must_use]
    pub fn is_over(&self, now: Mono) -> bool {
        self.until.is_none_or(|until| now >= until)
    }

    /// When the next attempt may be made; `None`: at once.
    #[must_use]
    pub fn until(&self) -> Option<Mono> {
        self.until
    }

    /// An attempt failed; `at_least` is what the other side asked for.
    pub fn failed(&mut self, now: Mono, at_least: Option<Duration>) {
        let ceiling = FIRST.saturating_mul(1 << self.failures.min(16)).min(LAST);
        self.failures = self.failures.saturating_add(1);
        // Full jitter (a draw from zero to the ceiling) spreads a herd best; a floor keeps one object from spinning.
        let delay = ceiling
            .mul_f64(draw())
            .max(FIRST / 2)
            .max(at_least.unwrap_or_default());
        self.until = Some(now + delay);
    }

    /// An attempt succeeded, or something new is attempted.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

/// 64 bits that nobody can foresee.
#[must_use]
pub fn dice() -> u64 {
    // Every `RandomState` has other keys: randomness without a dependency.
    RandomState::new().hash_one(0_u8)
}

/// A number from 0 to 1, evenly distributed.
#[must_use]
pub fn draw() -> f64 {
    let bits = u32::try_from(dice() >> 32).unwrap_or_default();
    f64::from(bits) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_the_ceiling_and_never_beyond() {
        let mut backoff = Backoff::default();
        let now = Mono(Duration::from_secs(10));
        assert!(backoff.is_over(now));
        for failure in 0..40 {
            backoff.failed(now, None);
            let delay = backoff.until().map(|until| until.since(now)).unwrap_or_default();
            let ceiling = (FIRST * 2_u32.pow(failure.min(16))).min(LAST);
            assert!(
                delay >= FIRST / 2 && delay <= ceiling,
                "failure {failure}: {delay:?} of {ceiling:?}"
            );
            assert!(!backoff.is_over(now));
        }
        backoff.failed(now, Some(Duration::from_mins(15)));
        assert!(
            backoff.until() >= Some(now + Duration::from_mins(15)),
            "what the server asks for is respected"
        );
        backoff.reset();
        assert!(backoff.is_over(now));
    }
}
