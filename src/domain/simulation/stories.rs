//! The contract's lines as stories: section 3's states, causes, memory and concentration, section 5's incidents.

mod age;
mod blindness;
mod holds;
mod owners;
mod periods;
mod sets;
mod store;

use serde_json::json;

use super::*;
use crate::api::status::{Flag, LockState};
use ConditionType::{LocksBalanced, LocksHeld, Ready, StoreReachable};
use EventReason as E;

fn one() -> Value {
    spec(&["x"], &json!({}))
}

fn two() -> Value {
    spec(&["x", "y"], &json!({}))
}

fn row<'w>(world: &'w World, name: &str) -> &'w crate::api::status::Row {
    let rows = &world.status().locks.as_ref().unwrap().rows;
    rows.iter().find(|row| row.name == name).unwrap()
}
