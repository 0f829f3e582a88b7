//! `diff`: what the operator would change in the cluster if a manifest were applied. Only reads and dry runs are sent. I/O.

use kube::{
    Api,
    api::{DynamicObject, Patch, PatchParams, ValidationDirective},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::{Map, Value};

use super::{
    access::{Access, Error, explain},
    offline::{self, Usable},
    print, say,
    show::objects,
};
use crate::{
    api::{CoordinatedWorkload, FIELD_MANAGER},
    domain::{
        children::{self, ChildKind, Children, Intent, Live, LiveChildren, Prepared, Refusal, Step},
        kept_deployment,
        workload::{Workload, parse},
    },
};

/// Prints the differences of every manifest; answers whether there are any.
pub(super) async fn run(access: &Access, files: &[String]) -> Result<bool, Error> {
    let mut differs = false;
    for usable in offline::all_usable(files, &access.namespace)? {
        differs |= one(access, usable).await?;
    }
    Ok(differs)
}

async fn one(access: &Access, usable: Usable) -> Result<bool, Error> {
    let Usable {
        resource,
        mut workload,
        ..
    } = usable;
    let access = Access {
        namespace: workload.namespace.clone(),
        ..access.clone()
    };
    let name = resource.metadata.name.as_deref().unwrap_or_default();
    let stored = access
        .resources()
        .get_opt(name)
        .await
        .map_err(|error| explain(name, error))?;
    workload.uid = stored
        .as_ref()
        .and_then(|stored| stored.metadata.uid.clone())
        .unwrap_or_default();
    let live = live(&access, name).await?;
    let prepared = children::build_over(&workload, kept_deployment(&workload, &live));
    let listed = stored
        .iter()
        .flat_map(|stored| stored.status.iter().flat_map(|status| status.children.clone()));
    let plan = children::plan(&workload, &prepared, &live, &listed.collect::<Vec<_>>());
    let before = stored.as_ref().and_then(|stored| intents(stored, &live));
    let mut differs = false;
    for (kind, step) in plan.steps.iter() {
        let (intent, there) = (prepared.get(kind).as_ref(), live.get(kind).as_ref());
        let after = match step {
            Step::Nothing { .. } | Step::Hold { .. } => there.map(|live| live.object().clone()),
            Step::Create => intent.map(Intent::creation_body),
            Step::Delete { .. } => None,
            Step::AwaitDeletion => {
                say(&format!(
                    "{}/{name} is being deleted; the operator makes it anew.",
                    kind.kind()
                ));
                intent.map(Intent::creation_body)
            }
            Step::Refuse(refusal) => {
                say(&format!(
                    "{}/{name} is left as it is: {}.",
                    kind.kind(),
                    refused(refusal)
                ));
                differs = true;
                continue;
            }
            Step::Apply { convert, .. } => match intent {
                Some(intent) => {
                    let mut after = dry_run(&access, kind, name, intent).await?;
                    let before = before.as_ref().and_then(|before| before.get(kind).as_ref());
                    if let Some(before) = before.filter(|_| *convert) {
                        objects::without_what_left(&mut after, before.body(), intent.body());
                    }
                    Some(after)
                }
                None => None,
            },
        };
        let after = after.map(|after| with_replicas(kind, &workload, there, after));
        let text = objects::difference(kind, name, there.map(Live::object), after.as_ref())
            .map_err(|error| super::unwritable(&error))?;
        differs |= !text.is_empty();
        print(&text);
    }
    Ok(differs)
}

/// What the stored spec made of the children.
fn intents(stored: &CoordinatedWorkload, live: &LiveChildren) -> Option<Children<Prepared>> {
    let workload = parse(stored).ok()?;
    Some(children::build_over(&workload, kept_deployment(&workload, live)))
}

/// Replicas that nobody but the spec decides on are applied apart from the rest.
fn with_replicas(
    kind: ChildKind,
    workload: &Workload,
    there: Option<&Live>,
    mut after: Map<String, Value>,
) -> Map<String, Value> {
    let fixed = workload
        .scaling
        .fixed()
        .filter(|_| kind == ChildKind::Deployment && there.is_some());
    if let (Some(replicas), Some(Value::Object(spec))) = (fixed, after.get_mut("spec")) {
        spec.insert("replicas".into(), replicas.into());
    }
    after
}

fn refused(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Foreign => {
            "Lockstep did not make it (NameConflict); spec.conflictPolicy: Adopt takes it over".to_owned()
        }
        Refusal::Controlled(controller) => format!("it belongs to {controller} (NameConflict)"),
        Refusal::OwnershipLost => "its owner reference was taken away (OwnershipLost)".to_owned(),
    }
}

fn api(access: &Access, kind: ChildKind) -> Api<DynamicObject> {
    let gvk = GroupVersionKind::gvk(kind.group(), kind.version(), kind.kind());
    let resource = ApiResource::from_gvk_with_plural(&gvk, kind.plural());
    Api::namespaced_with(access.client.clone(), &access.namespace, &resource)
}

/// The objects of the children's names.
async fn live(access: &Access, name: &str) -> Result<LiveChildren, Error> {
    let mut live = LiveChildren::default();
    for kind in ChildKind::ALL {
        let object = api(access, kind).get_opt(name).await;
        let object = object.map_err(|error| explain(name, error))?;
        *live.get_mut(kind) = object.map(|object| map(object).map(Live::new)).transpose()?;
    }
    Ok(live)
}

/// The child as it would be after the operator's apply.
async fn dry_run(
    access: &Access,
    kind: ChildKind,
    name: &str,
    intent: &Intent,
) -> Result<Map<String, Value>, Error> {
    let parameters = PatchParams {
        dry_run: true,
        force: true,
        field_manager: Some(FIELD_MANAGER.into()),
        field_validation: Some(ValidationDirective::Strict),
    };
    let patch = Patch::Apply(intent.body());
    let object = api(access, kind).patch(name, &parameters, &patch).await;
    map(object.map_err(|error| explain(name, error))?)
}

fn map(object: DynamicObject) -> Result<Map<String, Value>, Error> {
    match serde_json::to_value(object) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Ok(Map::new()),
        Err(error) => Err(super::unwritable(&error)),
    }
}
