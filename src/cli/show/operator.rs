//! Whether an operator keeps status up to date: without one, what status says is as old as the operator's end. Pure.
//!
//! In: the operators' Leases, as old as the apiserver's own clock says. Out: words, and whether what is shown can be
//! taken for today's.

use jiff::SignedDuration;

use super::{View, age, text::clean};
use crate::cluster::LEASE_LABEL;

/// What is known of the operator.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Operator {
    /// Nobody asked: what is shown doesn't come from a cluster.
    #[default]
    Unasked,
    /// It has a Lease.
    Elected(Lead),
    /// It can't be told, and why.
    Unchecked(String),
}

/// A Lease, seen from now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lead {
    /// The operator's namespace.
    pub namespace: String,
    /// Name of the Lease.
    pub lease: String,
    /// Who leads; `None`: it was given back.
    pub holder: Option<String>,
    /// How long ago it was written.
    pub renewed: SignedDuration,
    /// How long it holds after that.
    pub lasts: SignedDuration,
}

impl Lead {
    /// Whether somebody leads.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.holder.is_some() && self.renewed <= self.lasts
    }

    /// The pod that leads or led: its identity without what tells its restarts apart. Empty: nobody.
    #[must_use]
    pub fn pod(&self) -> &str {
        let holder = self.holder.as_deref().unwrap_or_default();
        holder.rsplit_once('_').map_or(holder, |(pod, _)| pod)
    }

    /// Where it is and what it is called: the pod, else the Lease.
    fn place(&self) -> String {
        let name = self.holder.as_ref().map_or(self.lease.as_str(), |_| self.pod());
        clean(&format!("{}/{name}", self.namespace))
    }

    fn ago(&self) -> String {
        age::short(self.renewed)
    }

    /// What is wrong, in a few words.
    #[must_use]
    pub fn fault(&self) -> String {
        let ago = self.ago();
        match &self.holder {
            Some(_) => format!("The operator has not renewed its lease for {ago}"),
            None => format!("No operator has led for {ago}"),
        }
    }

    /// What that means for everything else.
    #[must_use]
    pub fn meaning(&self) -> String {
        let place = self.place();
        let who = match &self.holder {
            Some(_) => format!("{place} led last."),
            None => format!("The last one gave the lease {place} back, as it does when it is asked to end."),
        };
        format!(
            "{who} What follows is as of then: nobody has looked at the workload or at Redis since, and changes of the \
             spec are not carried out."
        )
    }

    /// What to do.
    #[must_use]
    pub fn next(&self) -> &'static str {
        match &self.holder {
            Some(_) => "see whether it runs, and what it logs if it does:",
            None => "see whether it is meant to run, and start it:",
        }
    }

    /// The command that shows it.
    #[must_use]
    pub fn command(&self) -> String {
        let what = if self.holder.is_some() { "pods" } else { "deploy" };
        let (key, value) = LEASE_LABEL;
        format!(
            "kubectl get {what} -n {} -l {key}={value}",
            clean(&self.namespace)
        )
    }
}

/// What several Leases say together: which of the operators looks after a workload isn't written anywhere.
#[must_use]
pub fn judge(mut leads: Vec<Lead>) -> Operator {
    leads.sort_by_key(|lead| (!lead.is_alive(), lead.renewed));
    // What was given back is of an operator that was removed, where another one leads.
    if leads.first().is_some_and(Lead::is_alive) {
        leads.retain(|lead| lead.holder.is_some());
    }
    let dead = leads.iter().position(|lead| !lead.is_alive());
    match (leads.first(), dead) {
        (None, _) => Operator::Unchecked(
            "there is no lease of one. An operator that runs with --leader-elect=false has none".to_owned(),
        ),
        (Some(first), None | Some(0)) => Operator::Elected(first.clone()),
        (Some(first), Some(at)) => {
            let dead = leads.get(at).map_or_else(String::new, Lead::place);
            Operator::Unchecked(format!(
                "{} leads, {dead} does not, and which of them is responsible can't be told. Name its namespace with \
                 --operator-namespace",
                first.place()
            ))
        }
    }
}

impl View<'_> {
    /// The operator that left status as it is and is gone; `None`: it lives, or that isn't known.
    #[must_use]
    pub fn abandoned(&self) -> Option<&Lead> {
        match &self.operator {
            Operator::Elected(lead) if !lead.is_alive() => Some(lead),
            Operator::Elected(_) | Operator::Unasked | Operator::Unchecked(_) => None,
        }
    }

    /// That what is shown is old; `what`: such as "what follows is".
    #[must_use]
    pub fn abandonment(&self, what: &str) -> Option<String> {
        let lead = self.abandoned()?;
        Some(format!("{} ({}): {what} as of then.", lead.fault(), lead.place()))
    }

    /// That it lives, or that this can't be told.
    #[must_use]
    pub fn operator_line(&self) -> Option<String> {
        match &self.operator {
            Operator::Elected(lead) if lead.is_alive() => Some(format!(
                "Operator {} leads, renewed {} ago.",
                lead.place(),
                lead.ago()
            )),
            Operator::Elected(_) | Operator::Unasked => None,
            Operator::Unchecked(why) => Some(format!("Operator not checked: {}.", clean(why))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lead(namespace: &str, holder: Option<&str>, renewed: i64) -> Lead {
        Lead {
            namespace: namespace.into(),
            lease: "lockstep".into(),
            holder: holder.map(str::to_owned),
            renewed: SignedDuration::from_secs(renewed),
            lasts: SignedDuration::from_secs(15),
        }
    }

    #[test]
    fn several_leases_are_one_answer_or_none() {
        let alive = lead("one", Some("lockstep-a_1f"), 3);
        let dead = lead("two", Some("lockstep-b_2f"), 240);
        let released = lead("three", None, 2);
        let elected = |lead: &Lead| Operator::Elected(lead.clone());
        assert_eq!(judge(vec![alive.clone()]), elected(&alive));
        assert_eq!(judge(vec![dead.clone()]), elected(&dead));
        // Freshly written, and nobody leads.
        assert_eq!(judge(vec![dead.clone(), released.clone()]), elected(&released));
        assert!(!released.is_alive());
        assert_eq!(judge(vec![released.clone(), alive.clone()]), elected(&alive));
        let mixed = judge(vec![dead, alive, released]);
        let Operator::Unchecked(why) = mixed else {
            unreachable!("{mixed:?}")
        };
        assert!(
            why.starts_with("one/lockstep-a leads, two/lockstep-b does not"),
            "{why}"
        );
        assert!(matches!(judge(vec![]), Operator::Unchecked(_)));
    }

    #[test]
    fn the_last_moment_of_a_lease_counts() {
        assert!(lead("one", Some("a"), 15).is_alive());
        assert!(!lead("one", Some("a"), 16).is_alive());
    }
}
