use kube::core::Status;
use serde_json::{Value, json};

use super::*;

fn refused(code: u16, reason: &str, message: &str, causes: &Value) -> Error {
    let status = json!({
        "kind": "Status", "code": code, "reason": reason, "message": message, "details": { "causes": causes },
    });
    let status: Status = serde_json::from_value(status).unwrap();
    Error::from(kube::Error::Api(status.boxed()))
}

/// Words that an apiserver 1.36 uses.
#[test]
fn every_refusal_has_its_name() {
    use FailureKind as F;
    use RetryCause as R;
    for (code, message, kind) in [
        (
            403,
            "deployments.apps is forbidden: User \"u\" cannot create resource \"deployments\" in API group \"apps\" in \
             the namespace \"n\"",
            F::Forbidden,
        ),
        (
            403,
            "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on",
            F::Forbidden,
        ),
        (
            403,
            "pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\": …",
            F::AdmissionDenied,
        ),
        (
            403,
            "exceeded quota: q, requested: count/deployments.apps=1, used: …, limited: …",
            F::Retry(R::Quota),
        ),
        (
            403,
            "deployments.apps \"x\" is forbidden: unable to create new content in namespace n because it is being terminated",
            F::Retry(R::NamespaceTerminating),
        ),
        (
            400,
            "admission webhook \"w.example\" denied the request: no",
            F::AdmissionDenied,
        ),
        (
            422,
            "deployments.apps \"x\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no",
            F::AdmissionDenied,
        ),
        (
            500,
            "Internal error occurred: failed calling webhook \"w\": no endpoints",
            F::Retry(R::ServerError),
        ),
        (
            500,
            "failed to create typed patch object (n/x; apps/v1, Kind=Deployment): .spec.x: field not declared in schema",
            F::InvalidPodTemplate,
        ),
        (
            500,
            "failed to convert new object (n/x; apps/v1, Kind=Deployment) to proper version: quantities must match …",
            F::InvalidPodTemplate,
        ),
        (500, "etcdserver: request is too large", F::ObjectTooLarge),
        (
            413,
            "Request entity too large: limit is 3145728",
            F::ObjectTooLarge,
        ),
        (
            422,
            "Deployment.apps \"x\" is invalid: spec.selector: Invalid value: …: field is immutable",
            F::ImmutableField,
        ),
        (
            422,
            "Deployment.apps \"x\" is invalid: spec.template…: Required value",
            F::InvalidPodTemplate,
        ),
        (
            400,
            "strict decoding error: unknown field \"spec.x\"",
            F::InvalidPodTemplate,
        ),
        (401, "Unauthorized", F::Retry(R::Unreachable)),
        (
            404,
            "namespaces \"n\" not found",
            F::Retry(R::NamespaceTerminating),
        ),
        (409, "Operation cannot be fulfilled", F::Retry(R::Conflict)),
        (429, "Too many requests", F::Retry(R::Throttled)),
        (503, "apiserver is shutting down", F::Retry(R::ServerError)),
    ] {
        let error = refused(code, "", message, &json!([]));
        assert_eq!(error.failure(ChildKind::Deployment).kind, kind, "{message}");
    }
    let error = refused(422, "Invalid", "spec.ingress…", &json!([]));
    assert_eq!(error.failure(ChildKind::NetworkPolicy).kind, F::InvalidSpec);
    let causes = json!([{ "reason": "NamespaceTerminating" }]);
    let error = refused(403, "Forbidden", "other words", &causes);
    assert_eq!(
        error.failure(ChildKind::Deployment).kind,
        F::Retry(R::NamespaceTerminating)
    );
}

#[test]
fn managers_that_hold_fields_are_named_with_all_their_fields() {
    let conflict = |manager: &str, field: &str| json!({ "reason": "FieldManagerConflict", "message": format!("conflict with \"{manager}\" using apps/v1"), "field": field });
    let causes = json!([
        conflict("kubectl-edit", ".spec.a"),
        conflict("helm", ".spec.b"),
        conflict("kubectl-edit", ".spec.c")
    ]);
    let overrides = refused(409, "Conflict", "Apply failed", &causes).overrides();
    let expected = [
        ("kubectl-edit", vec![".spec.a", ".spec.c"]),
        ("helm", vec![".spec.b"]),
    ];
    let expected = expected.map(|(manager, fields)| Override {
        manager: manager.into(),
        fields: fields.into_iter().map(str::to_owned).collect(),
    });
    assert_eq!(overrides, expected);
    assert_eq!(
        refused(409, "Conflict", "uid mismatch", &json!([])).overrides(),
        []
    );
}

#[test]
fn messages_are_bounded_and_cut_at_a_character() {
    assert_eq!(bounded("short", 10), "short");
    let cut = bounded(&"ä".repeat(100), 20);
    assert!(cut.len() <= 20 && cut.ends_with("ä…"), "{cut}");
    let error = refused(422, "Invalid", &"x".repeat(5000), &json!([]));
    assert_eq!(error.message().len(), MESSAGE_LIMIT);
}

#[test]
fn an_error_does_not_repeat_its_source() {
    let error = refused(422, "Invalid", "the apiserver's words", &json!([]));
    assert_eq!(error.to_string(), "the apiserver refused the request");
    assert_eq!(error.message(), "the apiserver's words");
    assert_eq!(
        Error::Timeout(Duration::from_secs(10)).message(),
        "no answer within 10 s"
    );
}

#[test]
fn the_apiserver_may_say_when_to_come_back() {
    let status = json!({ "code": 429, "message": "busy", "details": { "retryAfterSeconds": 7 } });
    let status: Status = serde_json::from_value(status).unwrap();
    let error = Error::from(kube::Error::Api(status.boxed()));
    assert_eq!(
        error.failure(ChildKind::Deployment).retry_after,
        Some(Duration::from_secs(7))
    );
}
