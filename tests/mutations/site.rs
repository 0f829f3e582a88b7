//! A control plane in which nobody but the test writes children, and one resource's children in it. I/O.
//!
//! The resource itself is never stored: the apiserver is asked what it would store (a dry run), and that is what an
//! operator would read. Neither its controllers nor the garbage collector run, so that a child is only ever what was
//! made of it here; that others write to it too is tested elsewhere.

use std::ops::Range;

use kube::api::{Api, DeleteParams, PostParams};
use kube::core::{ApiResource, DynamicObject};
use kube::{Client, Config};
use lockstep::api::CoordinatedWorkload;
use lockstep::cluster::{CachedChild, Cluster};
use lockstep::domain::children::{
    self, ChildKind, Children, Live, LiveChildren, Outcome, Plan, Prepared, Step,
};
use lockstep::domain::workload::{Scaling, Workload, parse};
use lockstep_cluster::Options;
use serde_json::{Value, json};

use super::common;
use super::faults::Faults;
use super::shape::{Applied, Shape};

/// Every resource's name: in namespaces of their own, so that equal children are equal in their names too.
const NAME: &str = "web";
/// What would write to children, or only cost.
const IDLE: [&str; 12] = [
    "deployment-controller",
    "replicaset-controller",
    "horizontal-pod-autoscaler-controller",
    "disruption-controller",
    "garbage-collector-controller",
    "endpoints-controller",
    "endpointslice-controller",
    "endpointslice-mirroring-controller",
    "resourcequota-controller",
    "statefulset-controller",
    "ephemeral-volume-controller",
    "service-lb-controller",
];

/// What this apiserver would else drop or refuse: fields that are not for everybody yet.
const FEATURES: [&str; 7] = [
    "ClusterTrustBundle",
    "ClusterTrustBundleProjection",
    "ContainerStopSignals",
    "CrossNamespaceVolumeDataSource",
    "GenericWorkload",
    "PodCertificateRequest",
    "SELinuxMount",
];

/// Starts the control plane, with the definition.
pub(crate) async fn start() -> lockstep_cluster::Cluster {
    let idle = IDLE.map(|name| format!("-{name}")).join(",");
    let features = FEATURES.map(|name| format!("{name}=true")).join(",");
    let options = Options {
        fake_nodes: 0,
        apiserver_args: vec![
            format!("--feature-gates={features}"),
            // Asked for by two of them.
            "--runtime-config=scheduling.k8s.io/v1alpha2=true,certificates.k8s.io/v1beta1=true".to_owned(),
        ],
        // A list that is given twice is put together.
        controller_manager_args: vec![format!("--controllers={idle}")],
        ..Options::control_plane()
    };
    tokio::task::spawn_blocking(move || common::start(&options))
        .await
        .unwrap()
}

/// What the apiserver would store, or why it would not.
pub(crate) struct Definition(Api<DynamicObject>);

impl Definition {
    pub(crate) fn new(client: Client) -> Self {
        let resource = ApiResource::erase::<CoordinatedWorkload>(&());
        Self(Api::namespaced_with(client, "default", &resource))
    }

    /// The spec as it would be stored; or the refusal, in the apiserver's words.
    pub(crate) async fn stored(&self, spec: &Value) -> Result<Value, String> {
        let body = json!({
            "apiVersion": "lockstep.dev/v1alpha1", "kind": "CoordinatedWorkload",
            "metadata": { "name": NAME, "namespace": "default" }, "spec": spec,
        });
        let dry = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let object = serde_json::from_value(body).unwrap();
        match self.0.create(&dry, &object).await {
            Ok(object) => Ok(object.data["spec"].clone()),
            Err(kube::Error::Api(status)) if [400, 422].contains(&status.code) => Err(status.message.clone()),
            Err(error) => panic!("{error}: {spec}"),
        }
    }
}

/// One resource's children in a namespace of their own.
pub(crate) struct Site {
    namespace: String,
    /// No other has it.
    number: i64,
    uid: String,
    client: Client,
    /// Counts what the passes send.
    faults: Faults,
    cluster: Cluster,
    /// What a cache would hold: the last answers. Nobody else writes here.
    live: LiveChildren,
}

impl Site {
    /// A new namespace.
    pub(crate) async fn new(config: Config, namespace: String, number: usize) -> Self {
        let faults = Faults::none();
        let client = lockstep::cluster::client(config.clone()).unwrap();
        let body = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } });
        let api: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(client.clone());
        api.create(&PostParams::default(), &serde_json::from_value(body).unwrap())
            .await
            .unwrap();
        Self {
            uid: format!("uid-{namespace}"),
            namespace,
            number: number.try_into().unwrap(),
            client,
            cluster: Cluster::new(faults.client(config), "test"),
            faults,
            live: LiveChildren::default(),
        }
    }

    /// The resource with a stored spec as an operator reads it; or its own problems with it.
    pub(crate) fn workload(&self, stored: &Value) -> Result<Workload, String> {
        let mut stored = stored.clone();
        shift_node_ports(stored.pointer_mut("/service/ports"), self.number);
        let resource: CoordinatedWorkload = serde_json::from_value(json!({
            "apiVersion": "lockstep.dev/v1alpha1", "kind": "CoordinatedWorkload",
            "metadata": { "name": NAME, "namespace": self.namespace, "uid": self.uid, "generation": 1 },
            "spec": stored,
        }))
        .map_err(|error| format!("the resource can't be read: {error}"))?;
        parse(&resource).map_err(|problems| {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            problems.join("; ")
        })
    }

    fn api(&self, kind: ChildKind) -> Api<CachedChild> {
        Api::<CachedChild>::all_with(self.client.clone(), &kind).constrain(&self.namespace)
    }

    /// What the apiserver has.
    async fn read(&self, kind: ChildKind) -> Option<Live> {
        let child = self.api(kind).get_opt(NAME).await.unwrap();
        child.as_ref().map(CachedChild::live)
    }

    /// Applies a spec until nothing is left to do, and checks that nothing is: that one pass is enough, that the apiserver
    /// kept what it was sent, and that a second pass sends nothing at all.
    pub(crate) async fn apply(&mut self, workload: &Workload) -> Result<Applied, String> {
        let prepared = children::build_over(workload, self.live.deployment.as_ref());
        let plan = children::plan(workload, &prepared, &self.live, &[]);
        let outcome = self.cluster.apply(workload, &prepared, &plan).await;
        self.learn(&outcome);
        // What was refused may have been prepared for: a watch would show that.
        for failure in &outcome.failures {
            *self.live.get_mut(failure.child) = self.read(failure.child).await;
        }
        let refused = refused(&outcome)?;
        if !outcome.waiting.is_empty() {
            return Err(format!("it waits: {:?}", outcome.waiting));
        }
        let plan = children::plan(workload, &prepared, &self.live, &[]);
        self.check_rest(workload, &prepared, &plan, &refused).await?;
        Ok(Applied {
            shape: self.shape(workload),
            refused,
        })
    }

    /// What the apiserver answered is what a cache will show.
    fn learn(&mut self, outcome: &Outcome) {
        for (kind, _) in &outcome.deleted {
            *self.live.get_mut(*kind) = None;
        }
        for (kind, applied) in outcome.children.iter() {
            if let Some(live) = applied.as_ref().and_then(|applied| applied.live.clone()) {
                *self.live.get_mut(kind) = Some(live);
            }
        }
    }

    /// Whether the apiserver has what its answers said.
    pub(crate) async fn check(&self) -> Result<(), String> {
        for (kind, live) in self.live.iter() {
            if live.is_some() && self.read(kind).await != *live {
                return Err(format!(
                    "the {} is not what the apiserver's answers said",
                    kind.kind()
                ));
            }
        }
        Ok(())
    }

    async fn check_rest(
        &self,
        workload: &Workload,
        prepared: &Children<Prepared>,
        plan: &Plan,
        refused: &[(ChildKind, String)],
    ) -> Result<(), String> {
        for (kind, step) in plan.steps.iter() {
            let held_up = kind == ChildKind::HorizontalPodAutoscaler
                && refused.iter().any(|(kind, _)| *kind == ChildKind::Deployment);
            let is_refused = refused.iter().any(|(refused, _)| *refused == kind);
            if !matches!(step, Step::Nothing { .. }) && !is_refused && !held_up {
                return Err(format!("{} is left to do after a pass: {step:?}", kind.kind()));
            }
        }
        if refused.is_empty() {
            if !plan.is_empty() {
                return Err(format!(
                    "replicas are left to do after a pass: {:?}",
                    plan.replicas
                ));
            }
            let before = self.faults.count();
            let outcome = self.cluster.apply(workload, prepared, plan).await;
            if self.faults.count() != before {
                return Err(format!("a second pass sends requests: {outcome:?}"));
            }
        }
        Ok(())
    }

    /// The children, the replicas only if this workload sets them.
    pub(crate) fn shape(&self, workload: &Workload) -> Shape {
        let mut shape = Shape::default();
        for (kind, live) in self.live.iter() {
            let child = live
                .as_ref()
                .map(|live| self.child(kind, live.object(), workload));
            *shape.get_mut(kind) = child;
        }
        shape
    }

    /// A child without what the server or this place added to it.
    fn child(&self, kind: ChildKind, object: &serde_json::Map<String, Value>, workload: &Workload) -> Value {
        let metadata = &object["metadata"];
        let mut annotations = metadata["annotations"].clone();
        if let Some(annotations) = annotations.as_object_mut() {
            annotations.remove(lockstep::api::APPLIED_ANNOTATION);
        }
        let mut owners = metadata["ownerReferences"].clone();
        for owner in owners.as_array_mut().into_iter().flatten() {
            assert_eq!(owner["uid"], self.uid.as_str());
            owner["uid"] = Value::Null;
        }
        let mut spec = object["spec"].clone();
        if let (ChildKind::Service, Value::Object(spec)) = (kind, &mut spec) {
            for allocated in ["clusterIP", "clusterIPs", "healthCheckNodePort"] {
                spec.remove(allocated);
            }
            if names_node_port(workload) {
                shift_node_ports(spec.get_mut("ports"), -self.number);
            } else {
                // Kept from an earlier spec, or allocated: as the API likes.
                for port in spec["ports"].as_array_mut().into_iter().flatten() {
                    port["nodePort"] = Value::Null;
                }
            }
        }
        let fixed = match &workload.scaling {
            Scaling::Fixed { replicas } => replicas.is_some(),
            Scaling::Managed { min, max, .. } => min == max,
            Scaling::External { .. } => false,
        };
        if kind == ChildKind::Deployment && !fixed {
            spec.as_object_mut().unwrap().remove("replicas");
        }
        json!({
            "labels": metadata["labels"], "annotations": annotations, "ownerReferences": owners, "spec": spec,
        })
    }

    /// Deletes all children.
    pub(crate) async fn clear(&mut self) {
        for kind in ChildKind::ALL {
            if self.live.get(kind).is_some() {
                match self.api(kind).delete(NAME, &DeleteParams::background()).await {
                    Ok(_) => {}
                    Err(kube::Error::Api(status)) if status.code == 404 => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
        self.live = LiveChildren::default();
    }
}

fn names_node_port(workload: &Workload) -> bool {
    let ports = workload
        .service
        .as_ref()
        .and_then(|service| service.spec.get("ports"));
    let ports = ports.and_then(Value::as_array).into_iter().flatten();
    ports
        .into_iter()
        .any(|port| port.get("nodePort").is_some_and(|port| *port != 0))
}

/// Ports of nodes are the whole cluster's: each site has its own instead of those that a spec names. Shifted back, they
/// are the spec's again; those that were allocated go.
fn shift_node_ports(ports: Option<&mut Value>, by: i64) {
    /// The range that is never allocated from, as long as there is another.
    const NAMED: Range<i64> = 30_000..30_086;
    let ports = ports.and_then(Value::as_array_mut);
    for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
        let Some(number) = port.get("nodePort").and_then(Value::as_i64) else {
            continue;
        };
        if NAMED.contains(&number) {
            port.insert("nodePort".into(), (number + by).into());
        } else if by <= 0 {
            port.remove("nodePort");
        }
    }
}

/// The children that the apiserver refused; nothing else may fail where nobody else writes.
fn refused(outcome: &Outcome) -> Result<Vec<(ChildKind, String)>, String> {
    use lockstep::domain::children::FailureKind::{InvalidPodTemplate, InvalidSpec};
    let refused = outcome.failures.iter().map(|failure| {
        let right = if failure.child == ChildKind::Deployment {
            InvalidPodTemplate
        } else {
            InvalidSpec
        };
        if failure.kind == right && !failure.message.is_empty() {
            Ok((failure.child, failure.message.clone()))
        } else {
            Err(format!("{failure:?}"))
        }
    });
    refused.collect()
}
