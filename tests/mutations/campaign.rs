//! Each mutation on a fresh resource, as the first change of another, and after all others; in many namespaces at a time.
//! I/O.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use std::{env, fs};

use serde_json::Value;
use tokio::task::JoinSet;

use super::bases::{self, Base};
use super::common;
use super::mutations::{self, Mutation};
use super::report::{Report, Verdict};
use super::shape::Shape;
use super::site::{self, Definition, Site};

/// Namespaces of each sort that are worked in at a time.
const LANES: usize = 12;
/// Which mutations are tried; all, if it is not set.
const FILTER: &str = "LOCKSTEP_MUTATIONS";
/// A file for what came of each of them.
const LINES: &str = "LOCKSTEP_MUTATIONS_FILE";

/// A base as the apiserver stores it.
struct Stored {
    /// As a resource.
    spec: Value,
    /// Its children; `None`: this version of Lockstep does not support it yet.
    shape: Option<Shape>,
}

/// What all lanes share.
struct Shared {
    bases: Vec<Stored>,
    mutations: Vec<Mutation>,
    /// Specs that were tried, with their base: what is stored alike needs no second try.
    tried: Mutex<HashSet<u64>>,
}

/// Tries everything; the failures, in words.
#[expect(clippy::disallowed_methods, reason = "how long it takes is printed")]
pub(crate) async fn run() -> Result<(), String> {
    let bases = bases::all();
    let mut mutations = mutations::all(&bases);
    let filter = env::var(FILTER).ok();
    if let Some(filter) = &filter {
        let texts: Vec<&str> = filter.split(',').collect();
        mutations.retain(|mutation| texts.iter().any(|text| mutation.name.contains(text)));
    }
    let cluster = site::start().await;
    let started = Instant::now();
    let config = common::config(cluster.kubeconfig()).await;
    let definition = Definition::new(lockstep::cluster::client(config.clone()).unwrap());

    let mut first = Site::new(config.clone(), "first".into(), 0).await;
    let mut stored = Vec::new();
    let mut refused = Vec::new();
    for base in &bases {
        match store(&definition, &mut first, base).await {
            Ok(base) => stored.push(base),
            Err(fault) => refused.push(fault),
        }
        first.clear().await;
    }
    if !refused.is_empty() {
        return Err(refused.join("\n"));
    }
    let shared = Arc::new(Shared {
        bases: stored,
        mutations,
        tried: Mutex::default(),
    });
    let mut lanes = JoinSet::new();
    for number in 0..LANES {
        let lane = Lane::new(config.clone(), number, Arc::clone(&shared)).await;
        lanes.spawn(lane.run());
    }
    let mut report = Report::new(&shared.mutations);
    for verdicts in lanes.join_all().await {
        report.add(verdicts);
    }
    println!("{}, {} s", report.summary(), started.elapsed().as_secs());
    if let Ok(file) = env::var(LINES) {
        fs::write(file, report.lines()).unwrap();
    }
    let mut failures = report.failures();
    if filter.is_none() {
        failures.extend(report.uncovered());
    }
    if failures.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{}\nto try some of them only: {FILTER}='text,text' cargo test --test mutations",
        failures.join("\n")
    ))
}

/// Tries a base: each must be accepted as a whole.
async fn store(definition: &Definition, site: &mut Site, base: &Base) -> Result<Stored, String> {
    let name = &base.name;
    let spec = definition
        .stored(&base.spec)
        .await
        .map_err(|refusal| format!("base {name} is refused: {refusal}"))?;
    let shape = match site.workload(&spec) {
        Ok(workload) => {
            let applied = site
                .apply(&workload)
                .await
                .map_err(|fault| format!("base {name}: {fault}"))?;
            if !applied.refused.is_empty() {
                return Err(format!("base {name} is refused: {:?}", applied.refused));
            }
            Some(applied.shape)
        }
        Err(problem) if problem.contains("not supported yet") => None,
        Err(problem) => return Err(format!("base {name} is refused: {problem}")),
    };
    Ok(Stored { spec, shape })
}

/// One mutation after the other.
struct Lane {
    number: usize,
    shared: Arc<Shared>,
    definition: Definition,
    /// A resource that is made for each mutation.
    fresh: Site,
    /// A resource that each mutation is the first change of.
    changed: Site,
    /// A resource that goes through them all.
    old: Site,
}

impl Lane {
    async fn new(config: kube::Config, number: usize, shared: Arc<Shared>) -> Self {
        let client = lockstep::cluster::client(config.clone()).unwrap();
        let site = async |sort: &str, place: usize| {
            Site::new(config.clone(), format!("{sort}-{number}"), 1 + 3 * number + place).await
        };
        Self {
            number,
            shared,
            definition: Definition::new(client),
            fresh: site("fresh", 0).await,
            changed: site("changed", 1).await,
            old: site("old", 2).await,
        }
    }

    async fn run(mut self) -> Vec<(usize, Verdict)> {
        let shared = Arc::clone(&self.shared);
        let mut verdicts = Vec::new();
        let mine = shared
            .mutations
            .iter()
            .enumerate()
            .skip(self.number)
            .step_by(LANES);
        for (index, mutation) in mine {
            let verdict = match Box::pin(self.attempt(mutation, &shared.bases[mutation.base])).await {
                Ok(verdict) => verdict,
                Err(fault) => {
                    self.fresh.clear().await;
                    self.changed.clear().await;
                    self.old.clear().await;
                    Verdict::Failed(fault)
                }
            };
            verdicts.push((index, verdict));
        }
        verdicts
    }

    async fn attempt(&mut self, mutation: &Mutation, base: &Stored) -> Result<Verdict, String> {
        let stored = match self.definition.stored(&mutation.spec).await {
            Ok(stored) => stored,
            Err(refusal) => return Ok(Verdict::RefusedByDefinition(refusal)),
        };
        let mut hasher = DefaultHasher::new();
        (mutation.base, stored.to_string()).hash(&mut hasher);
        let is_new = self.shared.tried.lock().unwrap().insert(hasher.finish());
        if stored == base.spec || !is_new {
            return Ok(Verdict::Alike);
        }
        let fresh = match self.fresh.workload(&stored) {
            Ok(workload) => workload,
            Err(problems) => return Ok(Verdict::RefusedByLockstep(problems)),
        };
        let Some(first) = &base.shape else {
            return Ok(Verdict::NotSupportedYet);
        };
        let at = |when: &'static str| move |fault: String| format!("{when}: {fault}");

        let wanted = self.fresh.apply(&fresh).await.map_err(at("a fresh resource"))?;
        let back = self.fresh.workload(&base.spec)?;
        let there = self
            .fresh
            .apply(&back)
            .await
            .map_err(at("back as the first change"))?;
        there.is_whole(first).map_err(at("back as the first change"))?;
        self.fresh.clear().await;

        let site = &mut self.changed;
        let (there, back) = (site.workload(&stored)?, site.workload(&base.spec)?);
        let before = site.apply(&back).await.map_err(at("the base"))?;
        before.is_whole(first).map_err(at("the base"))?;
        let after = site.apply(&there).await.map_err(at("the first change"))?;
        after.is_like(&wanted, first).map_err(at("the first change"))?;
        let after = site.apply(&back).await.map_err(at("taken back"))?;
        after.is_whole(first).map_err(at("taken back"))?;
        // Now that no field is owned any more but by an apply.
        let again = site.apply(&there).await.map_err(at("once more"))?;
        again.is_like(&wanted, first).map_err(at("once more"))?;
        site.check().await.map_err(at("once more"))?;
        site.clear().await;

        let workload = self.old.workload(&stored)?;
        let before = self.old.shape(&workload);
        let after = self
            .old
            .apply(&workload)
            .await
            .map_err(at("after another change"))?;
        after
            .is_like(&wanted, &before)
            .map_err(at("after another change"))?;

        if !wanted.refused.is_empty() {
            return Ok(Verdict::RefusedByApiserver(wanted.refused[0].1.clone()));
        }
        Ok(Verdict::Accepted {
            differs: &wanted.shape != first,
        })
    }
}
