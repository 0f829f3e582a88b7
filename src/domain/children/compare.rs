//! Whether every intended field equals the live one, as the apiserver would store it. Pure.
//!
//! The intent is a part of the live object: defaults and other managers' fields are none of its business. Three things
//! make equal values look different, and each is undone where the API says so: quantities are rewritten, empty values
//! are dropped, and lists that are merged by key hold other managers' items.
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

/// Maps whose presence means something even when they are empty: everything, where absence means nothing.
const MEANINGFUL_WHEN_EMPTY: [&str; 3] = ["labelSelector", "podSelector", "namespaceSelector"];

/// Fields whose zero value is stored as absent (`omitempty` without a pointer). Not so `runAsUser: 0` and
/// `allowPrivilegeEscalation: false`, which are pointers: there, absent is a difference.
const DROPPED_WHEN_ZERO: [&str; 14] = [
    "chapAuthDiscovery",
    "chapAuthSession",
    "hostIPC",
    "hostNetwork",
    "hostPID",
    "hostPort",
    "initialDelaySeconds",
    "minReadySeconds",
    "partition",
    "paused",
    "readOnly",
    "stdin",
    "stdinOnce",
    "tty",
];

/// Fields whose zero value means "the default", which the apiserver then writes: there is nothing to compare.
const DEFAULTED_WHEN_ZERO: [&str; 21] = [
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
    "restartPolicy",
    "schedulerName",
    "scheme",
    "storageMode",
    "successThreshold",
    "targetPort",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "timeoutSeconds",
    "user",
];

/// Maps of quantities, by the field that holds them.
const QUANTITY_MAPS: [&str; 4] = ["limits", "requests", "overhead", "capacity"];
/// Single quantities.
const QUANTITIES: [&str; 3] = ["averageValue", "divisor", "sizeLimit"];

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
    if QUANTITY_MAPS.contains(&place.parent)
        || QUANTITIES.contains(&place.field)
        || (place.field == "value" && place.parent == "target")
    {
        return here(quantity::equal(intent, live));
    }
    match (intent, live) {
        (Value::Object(intent), Value::Object(live)) => object_differs(intent, live, place),
        (Value::Object(intent), Value::Null) if !MEANINGFUL_WHEN_EMPTY.contains(&place.field) => {
            // An object of nothing but empty values may be dropped too.
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
    let keyed = |keys: &[&str]| {
        let first = keys.first();
        first.is_some_and(|first| items.iter().all(|item| item.get(first).is_some()))
    };
    let mut lists = MERGED_LISTS.iter().filter(|(field, _)| *field == place.field);
    lists.find(|(_, keys)| keyed(keys)).map(|(_, keys)| *keys)
}

fn same_keys(one: &Value, other: &Value, keys: &[&str]) -> bool {
    // `protocol` is the only key that may be absent.
    let key = |item: &Value, key: &str| {
        item.get(key)
            .filter(|v| !is_zero(v))
            .cloned()
            .unwrap_or("TCP".into())
    };
    keys.iter().all(|name| key(one, name) == key(other, name))
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

/// Whether the apiserver may store this as absent.
fn is_empty(value: &Value, field: &str) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty() && !MEANINGFUL_WHEN_EMPTY.contains(&field),
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
