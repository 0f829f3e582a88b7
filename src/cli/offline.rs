//! `check` and `render`: what can be said of manifests without a cluster. I/O only to read and print.

use super::{
    Exit,
    access::Error,
    manifest::{self, Manifest},
    page, print,
    show::{check, objects},
};
use crate::{
    api::CoordinatedWorkload,
    domain::{
        children::{self, Children, Prepared},
        workload::{Workload, parse},
    },
};

/// A manifest that can be used.
pub(super) struct Usable {
    pub(super) place: String,
    pub(super) resource: CoordinatedWorkload,
    pub(super) workload: Workload,
    pub(super) unsure: Vec<String>,
}

/// The manifests that can be used, and what is wrong with the others.
pub(super) fn usable(manifests: Vec<Manifest>, namespace: &str) -> (Vec<Usable>, Vec<(String, Vec<String>)>) {
    let (mut usable, mut refused) = (vec![], vec![]);
    for manifest in manifests {
        let Manifest {
            place,
            resource,
            unknown,
            unsure,
        } = manifest;
        let mut faults: Vec<String> = unknown
            .into_iter()
            .map(|field| format!("{field}: there is no such field"))
            .collect();
        match resource {
            Err(fault) => faults.push(fault),
            Ok(mut resource) => {
                // A manifest that names none is meant for this one.
                resource
                    .metadata
                    .namespace
                    .get_or_insert_with(|| namespace.to_owned());
                faults.extend(check::name_fault(&resource));
                match parse(&resource) {
                    Ok(workload) if faults.is_empty() => {
                        let resource = *resource;
                        usable.push(Usable {
                            place,
                            resource,
                            workload,
                            unsure,
                        });
                        continue;
                    }
                    Ok(_) => {}
                    Err(problems) => faults.extend(problems.iter().map(ToString::to_string)),
                }
            }
        }
        refused.push((place, faults));
    }
    (usable, refused)
}

/// The children, and what the apiserver would refuse of them whatever it is asked later.
fn build(workload: &Workload) -> (Children<Prepared>, Vec<String>) {
    let children = children::build(workload);
    let duplicates = children.iter().filter_map(|(kind, intent)| {
        let duplicate = intent.as_ref()?.duplicate()?;
        Some(format!("the {} that it becomes: {duplicate}", kind.kind()))
    });
    let duplicates = duplicates.collect();
    (children, duplicates)
}

/// Says of each manifest whether it can be used, how long its locks may be without a holder, and what would be better
/// otherwise. Strict: advice is a fault.
pub(super) fn check(files: &[String], namespace: &str, is_strict: bool) -> Result<Exit, Error> {
    let (usable, mut refused) = usable(manifest::read(files)?, namespace);
    let mut is_advised = false;
    for Usable {
        place,
        resource,
        workload,
        unsure,
    } in usable
    {
        let (children, duplicates) = build(&workload);
        if !duplicates.is_empty() {
            refused.push((place, duplicates));
            continue;
        }
        let advice = check::advice(&resource, &workload);
        is_advised |= !advice.is_empty();
        print(&check::page(
            &place,
            &workload,
            &children,
            &advice,
            &unsure,
            page(),
        ));
        print("\n");
    }
    for (place, faults) in &refused {
        print(&check::faults(place, faults, page()));
    }
    Ok(if !refused.is_empty() || (is_strict && is_advised) {
        Exit::Wrong
    } else {
        Exit::Well
    })
}

/// Prints the children of each manifest.
pub(super) fn render(files: &[String], namespace: &str) -> Result<Exit, Error> {
    let usable = all_usable(files, namespace)?;
    if usable.iter().any(|usable| usable.resource.metadata.uid.is_none()) {
        print(
            "# Without metadata.uid in the manifest, the owner's UID and the annotation lockstep.dev/applied are left out.\n",
        );
    }
    for Usable {
        resource, workload, ..
    } in usable
    {
        let (children, _) = build(&workload);
        let text = objects::render(&children, resource.metadata.uid.is_some());
        print(&text.map_err(|error| super::unwritable(&error))?);
    }
    Ok(Exit::Well)
}

/// The manifests, none of which may have a fault.
pub(super) fn all_usable(files: &[String], namespace: &str) -> Result<Vec<Usable>, Error> {
    let (usable, refused) = usable(manifest::read(files)?, namespace);
    match refused.first() {
        None => Ok(usable),
        Some((place, faults)) => Err(Error::Manifest(format!("{place}: {}", faults.join("; ")))),
    }
}
