//! What Prometheus would read, while things happen.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;

use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams};
use lockstep::api::CoordinatedWorkload;
use lockstep_cluster::{Prometheus, RedisOptions};

use super::locks::{Holders, redis};
use super::operator::{Process, get, operator};
use super::place::{Place, control_plane, eventually, spec_with_locks};

/// All samples, by name and labels as they are written.
pub(crate) async fn scrape(address: SocketAddr) -> BTreeMap<String, f64> {
    let page = get(address, "/metrics").await.unwrap();
    assert_eq!(page.status, 200);
    assert!(page.text.ends_with("# EOF\n"), "it is whole");
    let samples = page.text.lines().filter(|line| !line.starts_with('#'));
    let mut all = BTreeMap::new();
    for sample in samples {
        let (series, value) = sample.rsplit_once(' ').unwrap();
        let before = all.insert(series.to_owned(), value.parse().unwrap());
        assert_eq!(before, None, "twice: {series}");
    }
    all
}

/// A sample whose name and labels hold all of these.
fn of(samples: &BTreeMap<String, f64>, name: &str, labels: &[&str]) -> Option<f64> {
    let mut found = samples.iter().filter(|(series, _)| {
        series.starts_with(&format!("lockstep_{name}{{")) && labels.iter().all(|label| series.contains(label))
    });
    let (_, value) = found.next()?;
    assert!(found.next().is_none(), "{name} {labels:?} is one series");
    Some(*value)
}

fn requests_are_counted(samples: &BTreeMap<String, f64>) {
    let asked = |verb: &str, resource: &str| {
        let labels = [format!("verb=\"{verb}\""), format!("resource=\"{resource}\"")];
        let [verb, resource] = labels.each_ref().map(String::as_str);
        of(
            samples,
            "kubernetes_requests_total",
            &[verb, resource, "code=\"2xx\""],
        )
    };
    assert_eq!(asked("create", "deployments"), Some(1.0));
    assert!(asked("update", "coordinatedworkloads") >= Some(1.0), "its status");
    assert!(asked("watch", "pods") >= Some(1.0));
    assert_eq!(asked("delete", "deployments"), None);
}

pub(crate) async fn a_loss_is_counted_once_and_what_went_leaves_no_series() {
    let place = Place::new("metrics").await;
    let server = redis(RedisOptions::default()).await;
    let holders = Holders::of(&server).await;
    let operator = operator(&place, &["--admin-bind", "127.0.0.1:0"]).await;
    let address = operator.admin().await;
    place
        .apply("web", &spec_with_locks(2, &server.url(), &["a", "b"]))
        .await;
    let pods = place.ready_pods("web", 2).await;
    let at_first = eventually("the first pass", async || {
        let samples = scrape(address).await;
        of(&samples, "condition", &["type=\"LocksHeld\""]).map(|_| samples)
    })
    .await;
    for cause in [
        "HolderGone",
        "Expired",
        "Evicted",
        "Flushed",
        "StoreFailover",
        "ClockJump",
    ] {
        let cause = format!("cause=\"{cause}\"");
        assert_eq!(of(&at_first, "locks_lost_total", &[&cause]), Some(0.0), "{cause}");
    }
    assert_eq!(of(&at_first, "lock_late_renewals_total", &[]), Some(0.0));
    assert_eq!(of(&at_first, "lock_renewal_gap_seconds_count", &[]), Some(0.0));
    holders.take("a", &pods[0]).await;
    holders.take("b", &pods[1]).await;
    eventually("both are held", async || {
        let samples = scrape(address).await;
        let held = of(&samples, "locks", &["state=\"Held\""]) == Some(2.0);
        let up = of(&samples, "store_up", &[]) == Some(1.0);
        let counted = of(&samples, "locks_acquired_total", &[]) == Some(2.0);
        let pod = of(&samples, "pod_locks", &[&format!("pod=\"{}\"", pods[0])]) == Some(1.0);
        (held && up && counted && pod).then_some(())
    })
    .await;
    place.delete_pod(&pods[0]).await;
    holders.abandon("a").await;
    let gone = ["cause=\"HolderGone\""];
    eventually("the loss is counted", async || {
        let samples = scrape(address).await;
        (of(&samples, "locks_lost_total", &gone) == Some(1.0)).then_some(())
    })
    .await;
    holders.take("a", &pods[1]).await;
    let samples = eventually("the gap is measured", async || {
        let samples = scrape(address).await;
        (of(&samples, "failover_gap_seconds_count", &[]) == Some(1.0)).then_some(samples)
    })
    .await;
    assert_eq!(of(&samples, "locks_lost_total", &gone), Some(1.0), "once");
    assert_eq!(
        of(&samples, "locks_lost_total", &["cause=\"Expired\""]),
        Some(0.0)
    );
    assert_eq!(of(&samples, "hold_duration_seconds_count", &[]), Some(1.0));
    assert_eq!(of(&samples, "locks_acquired_total", &[]), Some(3.0));
    assert_eq!(of(&samples, "locks_released_total", &[]), Some(0.0));
    assert_eq!(of(&samples, "set_ttl_seconds", &[]), Some(12.0));
    assert!(of(&samples, "store_commands_total", &[]) > Some(4.0));
    let samples = eventually("the locks are held again", async || {
        let samples = scrape(address).await;
        // One series a condition: the one that said False is gone.
        let held = of(&samples, "condition", &["type=\"LocksHeld\""])?;
        assert_eq!(held.to_bits(), 1.0_f64.to_bits());
        let is_true = of(&samples, "condition", &["type=\"LocksHeld\"", "status=\"True\""]);
        is_true.map(|_| samples)
    })
    .await;
    assert!(of(&samples, "condition_transitions_total", &["type=\"LocksHeld\""]) >= Some(2.0));
    assert!(of(&samples, "reconciles_total", &["result=\"ok\""]) > Some(5.0));
    requests_are_counted(&samples);
    assert_eq!(samples.get("lockstep_queue_depth").copied(), Some(0.0));
    assert_eq!(samples.get("lockstep_workloads").copied(), Some(1.0));
    assert!(of(&samples, "events_total", &["reason=\"LocksLost\"", "Warning"]) >= Some(1.0));
    let own = format!("namespace=\"{}\"", place.namespace);
    assert!(samples.keys().any(|series| series.contains(&own)));
    let resources: Api<CoordinatedWorkload> = place.api();
    let web = place.get("web").await;
    resources
        .delete(&web.name_any(), &DeleteParams::default())
        .await
        .unwrap();
    eventually("its series are gone", async || {
        let samples = scrape(address).await;
        let none = !samples.keys().any(|series| series.contains(&own));
        (none && samples.get("lockstep_workloads") == Some(&0.0)).then_some(())
    })
    .await;
    operator.terminate().await;
}

/// What Prometheus answers to a query; the error if it takes none.
async fn query(prometheus: SocketAddr, expression: &str) -> Result<Vec<serde_json::Value>, String> {
    let encoded = expression
        .bytes()
        .fold(String::new(), |text, byte| text + &format!("%{byte:02X}"));
    let page = get(prometheus, &format!("/api/v1/query?query={encoded}"))
        .await
        .unwrap();
    let answer: serde_json::Value = serde_json::from_str(&page.text).unwrap();
    if answer["status"] != "success" {
        return Err(format!("{expression}: {}", page.text));
    }
    Ok(answer["data"]["result"].as_array().cloned().unwrap_or_default())
}

pub(crate) async fn prometheus_answers_every_query_of_the_dashboard_and_the_rules() {
    let place = Place::new("prometheus").await;
    let server = redis(RedisOptions::default()).await;
    let holders = Holders::of(&server).await;
    let operator = operator(&place, &["--admin-bind", "127.0.0.1:0"]).await;
    let address = operator.admin().await;
    let mut spec = spec_with_locks(2, &server.url(), &["a", "b"]);
    spec["locks"][0]["balance"] = serde_json::json!({ "warmUp": "0s" });
    place.apply("web", &spec).await;
    let pods = place.ready_pods("web", 2).await;
    holders.take("a", &pods[0]).await;
    holders.take("b", &pods[0]).await;
    // Prometheus, from its start to its end with this test.
    let programs = tokio::task::spawn_blocking(|| Prometheus::find().unwrap())
        .await
        .unwrap();
    let files = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/lockstep/files");
    let folder = control_plane().await.dir().join("prometheus");
    std::fs::create_dir_all(&folder).unwrap();
    let configuration = format!(
        "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [{files}/rules.yaml]\nscrape_configs:\n- \
         job_name: lockstep\n  honor_labels: true\n  static_configs: [{{ targets: ['{address}'] }}]\n"
    );
    std::fs::write(folder.join("prometheus.yaml"), configuration).unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let prometheus = free.local_addr().unwrap();
    drop(free);
    let mut command = Command::new(&programs.server);
    command
        .arg(format!(
            "--config.file={}",
            folder.join("prometheus.yaml").display()
        ))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .arg(format!("--web.listen-address={prometheus}"));
    let _server = Process::start(&mut command, &folder.join("log"));
    eventually(
        "Prometheus has read the operator, also the idle pod",
        async || {
            // It is up before it has read its configuration.
            let ready = get(prometheus, "/-/ready").await?;
            if ready.status != 200 {
                return None;
            }
            let idle = query(prometheus, "lockstep_balance_idle_pods == 1").await.ok()?;
            // What rises needs to be read more than once.
            let often = query(prometheus, "count_over_time(lockstep_workloads[5m]) > 3")
                .await
                .ok()?;
            let long = query(prometheus, "count_over_time(lockstep_balance_idle_pods[5m]) > 3")
                .await
                .ok()?;
            (idle.len() == 1 && often.len() == 1 && long.len() == 1).then_some(())
        },
    )
    .await;
    // What Grafana puts in for its variables.
    let dashboard: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(format!("{files}/dashboard.json")).unwrap()).unwrap();
    let mut quiet = vec![];
    let mut asked = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().unwrap();
            let expression = expression.replace("$namespace", ".*").replace("$name", ".*");
            let expression = expression.replace("$__rate_interval", "1m");
            asked += 1;
            if query(prometheus, &expression).await.unwrap().is_empty() {
                quiet.push(expression);
            }
        }
    }
    assert!(asked > 30, "{asked}");
    // Empty is what shows trouble that there isn't, and latency, for which a minute of PINGs is needed.
    for expression in &quiet {
        let trouble = expression.ends_with("> 0")
            || expression.ends_with("== 1")
            || expression.contains("oldest_start_time");
        assert!(
            trouble || expression.contains("store_latency"),
            "no data: {expression}"
        );
    }
    let rules = get(prometheus, "/api/v1/rules").await.unwrap();
    let rules: serde_json::Value = serde_json::from_str(&rules.text).unwrap();
    let groups = rules["data"]["groups"].as_array().unwrap();
    let all = || groups.iter().flat_map(|group| group["rules"].as_array().unwrap());
    assert!(all().count() >= 15);
    for rule in all() {
        query(prometheus, rule["query"].as_str().unwrap()).await.unwrap();
        assert_ne!(rule["health"], "err", "{rule}");
    }
    // What an alert is about is found by it.
    let pending = eventually("the idle pod is pending as an alert", async || {
        let found = query(prometheus, "ALERTS{alertname=\"LockstepIdlePods\"}")
            .await
            .ok()?;
        found.first().cloned()
    })
    .await;
    assert_eq!(pending["metric"]["namespace"], place.namespace.as_str());
    assert_eq!(pending["metric"]["name"], "web");
    operator.terminate().await;
}
