//! Who may reach whom by the policies that Lockstep makes. No enforcer of policies runs in these tests, so what they mean is
//! computed, by an evaluator that has tests of its own.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests are tests")]

#[path = "network_policy/evaluator.rs"]
mod evaluator;
#[path = "network_policy/meaning.rs"]
mod meaning;
#[path = "network_policy/pitfalls.rs"]
mod pitfalls;
#[path = "network_policy/properties.rs"]
mod properties;
#[path = "network_policy/scene.rs"]
mod scene;
#[path = "network_policy/semantics.rs"]
mod semantics;
