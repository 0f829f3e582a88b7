//! Whether every intended field equals the live one, as the apiserver would store it. Pure.
//!
//! The intent is a part of the live object: defaults and other managers' fields are none of its business. Three things
//! make equal values look different, and each is undone where the API says so: quantities and times are rewritten, empty
//! values are dropped, and lists that are merged by key hold other managers' items.
//!
//! The error to avoid is a difference that applying can't remove, for it would be applied for ever. So a field is taken
//! as free to be larger than intended unless it is known to be written as a whole.

use serde_json::{Map, Value};

use super::quantity;

/// Lists merged by key, and their keys: `x-kubernetes-list-map-keys` of the built-in types that children hold.
const MERGED_LISTS: [(&str, &[&str]); 17] = [
    ("containers", &["name"]),
    ("initContainers", &["name"]),
    ("ephemeralContainers", &["name"]),
    ("volumes", &["name"]),
    ("imagePullSecrets", &["name"]),
    ("env", &["name"]),
    ("ports", &["containerPort", "protocol"]),
    // Of a Service.
    ("ports", &["port", "protocol"]),
    ("volumeMounts", &["mountPath"]),
    ("volumeDevices", &["devicePath"]),
    ("topologySpreadConstraints", &["topologyKey", "whenUnsatisfiable"]),
    ("hostAliases", &["ip"]),
    ("schedulingGates", &["name"]),
    ("resourceClaims", &["name"]),
    ("claims", &["name"]),
    ("ownerReferences", &["uid"]),
    ("conditions", &["type"]),
];

/// Merged lists whose order means something: which container starts first, which variable can refer to which.
const ORDERED_LISTS: [&str; 3] = ["containers", "initContainers", "env"];

/// Fields that are written as a whole and in which nothing is defaulted that isn't listed in [`DEFAULTS_IN_WHOLES`]:
/// more than was intended is a difference too. A rule of a policy with one peer more, for instance.
const WHOLES: [&str; 8] = [
    "selector",
    "labelSelector",
    "podSelector",
    "namespaceSelector",
    "nodeSelector",
    "ingress",
    "egress",
    "policyTypes",
];

/// What the API adds within a whole.
const DEFAULTS_IN_WHOLES: [(&str, &str); 1] = [("protocol", "TCP")];

/// Maps from names of the user's choice: empty, they are stored as absent. Every other object is kept when it is empty,
/// and means something: all pods, where absence means none; a probe without a handler, which the apiserver refuses.
const MAPS: [&str; 10] = [
    "annotations",
    "labels",
    "limits",
    "matchLabels",
    "nodeSelector",
    "options",
    "overhead",
    "requests",
    "userAnnotations",
    "volumeAttributes",
];

/// Fields whose zero value is stored as absent (`omitempty` without a pointer). Not so `runAsUser: 0` and
/// `allowPrivilegeEscalation: false`, which are pointers: there, absent is a difference.
const DROPPED_WHEN_ZERO: [&str; 16] = [
    "chapAuthDiscovery",
    "chapAuthSession",
    "generation",
    "hostIPC",
    "hostNetwork",
    "hostPID",
    "hostPort",
    "initialDelaySeconds",
    "minReadySeconds",
    "partition",
    "paused",
    "readOnly",
    "sslEnabled",
    "stdin",
    "stdinOnce",
    "tty",
];

/// Fields whose zero value means "the default", which the apiserver then writes: there is nothing to compare.
const DEFAULTED_WHEN_ZERO: [&str; 24] = [
    "apiVersion",
    "dnsPolicy",
    "failureThreshold",
    "fsType",
    "imagePullPolicy",
    "iscsiInterface",
    "keyring",
    "nodePort",
    "path",
    "periodSeconds",
    "pool",
    "protocol",
    "pullPolicy",
    "restartPolicy",
    "schedulerName",
    "scheme",
    "storageMode",
    "successThreshold",
    "targetPort",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "timeoutSeconds",
    "type",
    "user",
];

/// Maps of quantities, by the field that holds them.
const QUANTITY_MAPS: [&str; 4] = ["limits", "requests", "overhead", "capacity"];
/// Single quantities.
const QUANTITIES: [&str; 4] = ["averageValue", "divisor", "sizeLimit", "tolerance"];
/// Times, which are stored in UTC and in whole seconds.
const TIMES: [&str; 3] = ["creationTimestamp", "deletionTimestamp", "time"];

/// Path of the first intended field that differs from the live object, `None` if all are equal.
#[must_use]
pub(super) fn first_difference(intent: &Map<String, Value>, live: &Map<String, Value>) -> Option<String> {
    // What kind of object it is was never in doubt, and items of a list don't say it.
    let fields = intent
        .iter()
        .filter(|(key, _)| !["apiVersion", "kind"].contains(&key.as_str()));
    fields.into_iter().find_map(|(key, wanted)| {
        let place = Place {
            parent: "",
            field: key,
            whole: false,
        };
        let rest = differs(wanted, live.get(key).unwrap_or(&Value::Null), place)?;
        Some(format!("{key}{rest}"))
    })
}

/// Whether an object that has fields becomes one that has none. Maps aside: without entries they are as good as absent.
#[must_use]
pub(super) fn empties(intent: &Map<String, Value>, live: &Map<String, Value>) -> bool {
    intent
        .iter()
        .any(|(field, wanted)| match (wanted, live.get(field)) {
            (Value::Object(wanted), Some(Value::Object(live))) if wanted.is_empty() => {
                !live.is_empty() && !MAPS.contains(&field.as_str())
            }
            (Value::Object(wanted), Some(Value::Object(live))) => empties(wanted, live),
            (Value::Array(wanted), Some(Value::Array(live))) => {
                let keys = keys_of(field, wanted).unwrap_or_default();
                wanted.iter().enumerate().any(|(index, item)| {
                    let found = if keys.is_empty() {
                        live.get(index)
                    } else {
                        live.iter().find(|other| same_keys(item, other, keys))
                    };
                    match (item.as_object(), found.and_then(Value::as_object)) {
                        (Some(item), Some(found)) => empties(item, found),
                        (Some(_) | None, _) => false,
                    }
                })
            }
            (
                Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::String(_)
                | Value::Array(_)
                | Value::Object(_),
                _,
            ) => false,
        })
}

/// Where in the object a value is.
#[derive(Clone, Copy)]
struct Place<'a> {
    /// Field around `field`; list items keep their list's.
    parent: &'a str,
    /// Nearest field.
    field: &'a str,
    /// Within a field of [`WHOLES`].
    whole: bool,
}

/// Paths are built on the way out, so that equal objects, which are the rule, cost none.
fn object_differs(
    intent: &Map<String, Value>,
    live: &Map<String, Value>,
    place: Place<'_>,
) -> Option<String> {
    let below = |key: &str, rest: &str| format!(".{key}{rest}");
    for (key, wanted) in intent {
        let inner = Place {
            parent: place.field,
            field: key,
            whole: place.whole || WHOLES.contains(&key.as_str()),
        };
        if let Some(rest) = differs(wanted, live.get(key).unwrap_or(&Value::Null), inner) {
            return Some(below(key, &rest));
        }
    }
    if place.whole {
        let added = live.iter().find(|(key, value)| {
            let default = DEFAULTS_IN_WHOLES
                .iter()
                .any(|(field, default)| field == key && value == default);
            !intent.contains_key(*key) && !default && !is_empty(value, key)
        });
        return added.map(|(key, _)| below(key, ""));
    }
    None
}

/// The path below this value at which the two differ; empty: here.
fn differs(intent: &Value, live: &Value, place: Place<'_>) -> Option<String> {
    let here = |equal: bool| (!equal).then(String::new);
    if is_zero(intent) && DEFAULTED_WHEN_ZERO.contains(&place.field) || intent.is_null() && !place.whole {
        return None;
    }
    if is_empty(intent, place.field) && is_empty(live, place.field) {
        return None;
    }
    let is_quantity = QUANTITY_MAPS.contains(&place.parent)
        || QUANTITIES.contains(&place.field)
        || (place.field == "value" && place.parent == "target");
    // An object is none, whatever the field is called.
    if is_quantity && !intent.is_object() {
        return here(quantity::equal(intent, live));
    }
    if TIMES.contains(&place.field)
        && let (Some(intent), Some(live)) = (seconds(intent), seconds(live))
    {
        return here(intent == live);
    }
    match (intent, live) {
        (Value::Object(intent), Value::Object(live)) => object_differs(intent, live, place),
        // An object of nothing but empty values may be dropped too; an empty one that isn't a map is not.
        (Value::Object(intent), Value::Null) if !intent.is_empty() => {
            object_differs(intent, &Map::new(), place)
        }
        (Value::Array(intent), Value::Array(live)) => list_differs(intent, live, place),
        (Value::Number(intent), Value::Number(live)) => {
            here(intent == live || intent.as_f64() == live.as_f64())
        }
        (intent, live) => here(intent == live),
    }
}

fn list_differs(intent: &[Value], live: &[Value], place: Place<'_>) -> Option<String> {
    if let Some(keys) = merge_keys(place, intent) {
        let mut reached = 0;
        for item in intent {
            let Some(index) = live.iter().position(|other| same_keys(item, other, keys)) else {
                return Some(item_path(item, keys));
            };
            if let Some(rest) = live.get(index).and_then(|found| differs(item, found, place)) {
                return Some(item_path(item, keys) + &rest);
            }
            // Others' items may stand between ours.
            if ORDERED_LISTS.contains(&place.field) && index < reached {
                return Some(item_path(item, keys));
            }
            reached = index;
        }
        return None;
    }
    if intent.len() != live.len() {
        return Some(String::new());
    }
    let mut pairs = intent.iter().zip(live).enumerate();
    pairs
        .find_map(|(index, (item, other))| differs(item, other, place).map(|rest| format!("[{index}]{rest}")))
}

/// Keys by which the list is merged; `None`: it is written as a whole, in its order.
fn merge_keys(place: Place<'_>, items: &[Value]) -> Option<&'static [&'static str]> {
    // A policy's `ports` bear the name of a container's, and are a whole.
    if place.whole {
        return None;
    }
    keys_of(place.field, items)
}

/// Whether the field is written as a whole.
pub(super) fn is_whole(field: &str) -> bool {
    WHOLES.contains(&field)
}

/// Keys by which a list of this name is merged, outside of what is written as a whole.
pub(super) fn keys_of(field: &str, items: &[Value]) -> Option<&'static [&'static str]> {
    let keyed = |keys: &[&str]| {
        let first = keys.first();
        first.is_some_and(|first| items.iter().all(|item| item.get(first).is_some()))
    };
    let mut lists = MERGED_LISTS.iter().filter(|(list, _)| *list == field);
    lists.find(|(_, keys)| keyed(keys)).map(|(_, keys)| *keys)
}

/// A key of an item; `protocol` is the only one that may be absent.
pub(super) fn key_of(item: &Value, key: &str) -> Value {
    let given = item.get(key).filter(|value| !is_zero(value));
    given.cloned().unwrap_or("TCP".into())
}

fn same_keys(one: &Value, other: &Value, keys: &[&str]) -> bool {
    keys.iter().all(|key| key_of(one, key) == key_of(other, key))
}

fn item_path(item: &Value, keys: &[&str]) -> String {
    let first = keys
        .first()
        .and_then(|key| item.get(key))
        .map(|value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
    format!("[{}]", first.unwrap_or_default())
}

/// Seconds since 1970 of a time as the API writes it.
fn seconds(value: &Value) -> Option<i64> {
    let time: jiff::Timestamp = value.as_str()?.parse().ok()?;
    Some(time.as_second())
}

/// Whether the apiserver may store this as absent.
fn is_empty(value: &Value, field: &str) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty() && MAPS.contains(&field),
        Value::Bool(_) | Value::Number(_) => is_zero(value) && DROPPED_WHEN_ZERO.contains(&field),
    }
}

/// Go's zero value of a scalar.
fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(truth) => !truth,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(_) | Value::Object(_) => false,
    }
}

#[cfg(test)]
mod tests;
