//! What keeps status small: the apiserver bounds an object, and everybody who watches pays for it. Pure.
//!
//! What memory takes back from status is cut by rules of its own, whatever else is there: cut again, it stays as it is.

use serde::Serialize;

use crate::api::{CoordinatedWorkloadStatus, status::SetStatus};

/// Size of the whole, bytes of JSON; some room is left for what an apiserver writes differently.
const WHOLE: usize = 32 * 1024 - 512;
/// Size of `recent`.
const RECENT: usize = 4 * 1024;
/// Size of all sets' `lastLoss`, and of all sets' `top`.
const PER_SETS: usize = 4 * 1024;

/// Bytes of JSON, with the comma behind it.
pub(super) fn size(value: &impl Serialize) -> usize {
    serde_json::to_string(value).map_or(0, |text| text.len() + 1)
}

/// Cuts what is too long; the rows take what the rest leaves.
pub(super) fn fit(status: &mut CoordinatedWorkloadStatus) {
    let mut room = Room(RECENT);
    let fitting = status.recent.iter().take_while(|entry| room.take(entry)).count();
    status.recent.truncate(fitting);
    if let Some(locks) = &mut status.locks {
        fit_sets(&mut locks.sets);
    }
    let mut over = size(status).saturating_sub(WHOLE);
    if let Some(locks) = &mut status.locks {
        while over > 0
            && let Some(row) = locks.rows.pop()
        {
            over = over.saturating_sub(size(&row));
            locks.rows_omitted = locks.rows_omitted.saturating_add(1);
        }
    }
}

fn fit_sets(sets: &mut [SetStatus]) {
    let (mut losses, mut tops) = (Room(PER_SETS), Room(PER_SETS));
    for set in sets {
        set.last_loss = set.last_loss.take().filter(|loss| losses.take(loss));
        if let Some(balance) = &mut set.balance {
            let fitting = balance.top.iter().take_while(|top| tops.take(top)).count();
            balance.top.truncate(fitting);
        }
    }
}

/// What is left of a limit. Once something did not fit, nothing does.
struct Room(usize);

impl Room {
    fn take(&mut self, value: &impl Serialize) -> bool {
        let left = self.0.checked_sub(size(value));
        self.0 = left.unwrap_or(0);
        left.is_some()
    }
}
