//! What the operator says of itself beside status and events: whether it works, and (to come) its figures. No I/O: the
//! parts of the operator tell it, [`crate::admin`] serves it.

pub mod health;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::{encoding::text::encode, metrics::info::Info, registry::Registry};

use self::health::Health;

/// Content type of [`Telemetry::metrics`].
pub const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Prefix of the name of every metric.
const PREFIX: &str = "lockstep";

/// Health and figures of one operator; clones share them.
#[derive(Clone, Debug)]
pub struct Telemetry {
    /// Whether it works.
    pub health: Health,
    registry: Arc<Mutex<Registry>>,
}

impl Default for Telemetry {
    fn default() -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        registry.register("build", "The operator's version", Info::new(version));
        Self {
            health: Health::default(),
            registry: Arc::new(Mutex::new(registry)),
        }
    }
}

impl Telemetry {
    /// All metrics, as `OpenMetrics` text.
    ///
    /// # Errors
    ///
    /// Writing to a string does not fail; a metric that can't be written would.
    pub fn metrics(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &lock(&self.registry))?;
        Ok(text)
    }
}

/// Locks; a poisoned lock is as good as any: whoever panicked ended the process, or a test.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
