//! What a pod template says, read from its JSON as far as it has the expected shape. Pure.

use serde_json::{Map, Value};

/// The plain containers.
#[must_use]
pub fn main_containers(template: &Map<String, Value>) -> &[Value] {
    list(template, "containers")
}

/// Containers that run as long as their pod: the plain ones, then the sidecars. The other init containers have ended
/// before the pod serves anybody; the API, too, leaves their ports out where it looks up a port by its name.
pub fn lasting_containers(template: &Map<String, Value>) -> impl Iterator<Item = &Value> {
    let sidecar = |container: &&Value| {
        container
            .get("restartPolicy")
            .is_some_and(|policy| policy == "Always")
    };
    main_containers(template)
        .iter()
        .chain(list(template, "initContainers").iter().filter(sidecar))
}

/// Name of a container.
#[must_use]
pub fn name(container: &Value) -> &str {
    container.get("name").and_then(Value::as_str).unwrap_or_default()
}

/// Protocol of a port, of a container or a Service.
#[must_use]
pub fn protocol(port: &Value) -> &str {
    let given = port.get("protocol").and_then(Value::as_str);
    given.filter(|protocol| !protocol.is_empty()).unwrap_or("TCP")
}

fn list<'t>(template: &'t Map<String, Value>, field: &str) -> &'t [Value] {
    let list = template.get("spec").and_then(|spec| spec.get(field));
    list.and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}
