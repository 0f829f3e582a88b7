//! How a mutex is taken everywhere. Pure.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks; a poisoned lock is as good as any: whoever panicked ended the process, or a test.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
