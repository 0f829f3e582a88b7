//! The demo without root (I/O): KWOK says that the pods run, and this module runs a worker process for each of them,
//! as a kubelet would: it starts one when a pod appears, ends it with SIGTERM when the pod is deleted, and restarts
//! it, and counts that in the pod's status, when it was killed.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lockstep_cluster::{Redis, RedisOptions};
use serde_json::{Value, json};

use crate::failure::{Failure, WhileTrying as _};
use crate::shell::Shell;
use crate::stories::Stage;
use crate::tell;
use crate::view::{self, Pod};

/// Keeps a deleted pod in the API until its process has released its locks, as a real node would.
const FINALIZER: &str = "lockstep.dev/demo";
const PAUSE: Duration = Duration::from_millis(200);
/// Failures of `kubectl` in a row after which the cluster is taken to be gone.
const PATIENCE: usize = 50;

/// The stage that the stories see: the example with Redis and pods as processes of this machine.
#[derive(Debug)]
pub(crate) struct Played {
    pub(crate) folder: PathBuf,
}

impl Played {
    /// The URL of the players' Redis.
    fn redis_url(&self) -> Result<String, Failure> {
        let path = redis_file(&self.folder);
        fs::read_to_string(&path).while_trying("read", &path)
    }

    /// Removes what players of before left behind.
    pub(crate) fn forget(&self) -> Result<(), Failure> {
        let path = redis_file(&self.folder);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).while_trying("remove", &path)
            }
            _ => Ok(()),
        }
    }

    /// Whether the players are there.
    pub(crate) fn is_set(&self) -> bool {
        self.redis_url().is_ok()
    }
}

impl Stage for Played {
    fn apply_command(&self, filter: Option<&str>) -> Result<String, Failure> {
        let redis = self.redis_url()?;
        let mut filters = vec![
            format!("s|redis://redis:6379|{redis}|"),
            format!("s|^      labels:|      finalizers: [{FINALIZER}]\\n      labels:|"),
        ];
        filters.extend(filter.map(str::to_owned));
        let filters: Vec<String> = filters.iter().map(|filter| format!("-e '{filter}'")).collect();
        Ok(format!(
            "sed {} {} | kubectl apply -f -",
            filters.join(" "),
            crate::EXAMPLE
        ))
    }

    fn lock_process(&self, pod: &Pod) -> Result<(u32, String), Failure> {
        let path = pid_file(&self.folder, &pod.name);
        let text = fs::read_to_string(&path).while_trying("read", &path)?;
        let process = text.trim().parse();
        let process = process.map_err(|_| Failure::Malformed {
            what: path.display().to_string(),
            why: text,
        })?;
        Ok((
            process,
            "without a real node it is a process of this machine, started for that pod.".to_owned(),
        ))
    }
}

fn redis_file(folder: &Path) -> PathBuf {
    folder.join("redis.url")
}

fn pid_file(folder: &Path, pod: &str) -> PathBuf {
    folder.join(format!("{pod}.pid"))
}

/// Plays the pods until the cluster is gone or this process is ended.
pub(crate) fn play(shell: &Shell, folder: &Path, worker: &Path) -> Result<(), Failure> {
    let redis = Redis::start(RedisOptions::default())?;
    // Written and then renamed: whoever sees the file can read all of it.
    let draft = folder.join("redis.url.new");
    fs::write(&draft, redis.url()).while_trying("write", &draft)?;
    fs::rename(&draft, redis_file(folder)).while_trying("put in place", &draft)?;

    let mut players = Players {
        shell,
        folder,
        worker,
        running: BTreeMap::new(),
    };
    let mut failures = 0;
    while failures < PATIENCE {
        match shell.get("pods -l app=rigatoni") {
            Ok(list) => {
                failures = 0;
                players.follow(&list)?;
            }
            Err(_) => failures += 1,
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

struct Players<'a> {
    shell: &'a Shell,
    folder: &'a Path,
    worker: &'a Path,
    running: BTreeMap<String, Child>,
}

impl Players<'_> {
    fn follow(&mut self, list: &Value) -> Result<(), Failure> {
        let pods = view::pods(list);
        let is_there = |name: &String| pods.iter().any(|pod| pod.name == *name);
        let gone: Vec<String> = self
            .running
            .keys()
            .filter(|name| !is_there(name))
            .cloned()
            .collect();
        gone.iter().try_for_each(|name| self.end(name))?;
        for pod in pods.iter().filter(|pod| pod.going) {
            self.end(&pod.name)?;
            // A failure means that it is gone already, which is as good.
            let _ = self
                .shell
                .run(&patch(&pod.name, "", &json!({"metadata": {"finalizers": null}})));
        }
        // All are asked to end before any is started, and then one is started after the other, as on a node: so the
        // first takes all locks.
        let objects = list["items"].as_array().map_or(&[][..], Vec::as_slice);
        for (pod, object) in pods.iter().zip(objects) {
            if pod.ready && !pod.going && self.keep(&pod.name, object)? {
                break;
            }
        }
        Ok(())
    }

    /// The worker of a pod runs; one that was killed is started again and counted. Says whether one was started.
    fn keep(&mut self, name: &str, object: &Value) -> Result<bool, Failure> {
        if let Some(child) = self.running.get_mut(name) {
            let Some(status) = child.try_wait().while_trying("ask after the worker of", name)? else {
                return Ok(false);
            };
            let code = status
                .code()
                .or_else(|| status.signal().map(|signal| 128 + signal));
            self.count_restart(name, object, code.unwrap_or(1))?;
        }
        let child = self.start(name, object)?;
        self.running.insert(name.to_owned(), child);
        Ok(true)
    }

    fn start(&self, name: &str, object: &Value) -> Result<Child, Failure> {
        let variables = object["spec"]["containers"][0]["env"]
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        let variables = variables
            .iter()
            .filter_map(|entry| Some((entry["name"].as_str()?, entry["value"].as_str()?)));
        let log = self.folder.join(format!("{name}.log"));
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(&log)
            .while_trying("open", &log)?;
        let health = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let health = health.while_trying("find a free port for the worker of", name)?;
        // The workers go when the process that plays their pods does.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "--"]).arg(self.worker);
        command.env_clear().envs(variables);
        command
            .env("HOSTNAME", name)
            .env("HEALTH_ADDRESS", health.to_string());
        let child = command
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(Stdio::null())
            .spawn();
        let child = child.while_trying("start", self.worker)?;
        let path = pid_file(self.folder, name);
        // `setpriv` becomes the worker, so this is the worker's id.
        fs::write(&path, child.id().to_string()).while_trying("write", &path)?;
        Ok(child)
    }

    fn end(&mut self, name: &str) -> Result<(), Failure> {
        let Some(mut child) = self.running.remove(name) else {
            return Ok(());
        };
        // An error means that it ended already.
        let _ = self.shell.run(&format!("kill -TERM {}", child.id()));
        child.wait().while_trying("wait for the worker of", name)?;
        let path = pid_file(self.folder, name);
        fs::remove_file(&path).while_trying("remove", &path)
    }

    /// What a kubelet writes when it starts a container again.
    fn count_restart(&self, name: &str, object: &Value, code: i32) -> Result<(), Failure> {
        let now = self.shell.run("date -u +%Y-%m-%dT%H:%M:%SZ")?;
        let now = now.trim();
        let mut status = object["status"]["containerStatuses"][0].clone();
        let restarts = status["restartCount"].as_i64().unwrap_or(0) + 1;
        let started = status["state"]["running"]["startedAt"].clone();
        let ended = json!({"exitCode": code, "reason": "Error", "startedAt": started, "finishedAt": now});
        status["restartCount"] = json!(restarts);
        status["lastState"] = json!({"terminated": ended});
        status["state"] = json!({"running": {"startedAt": now}});
        let patch = patch(
            name,
            " --subresource=status",
            &json!({"status": {"containerStatuses": [status]}}),
        );
        self.shell.run(&patch).map(drop)
    }
}

fn patch(pod: &str, option: &str, change: &Value) -> String {
    format!("kubectl patch pod {pod}{option} --type=merge -p '{change}'")
}

/// Waits until the players have their Redis.
pub(crate) fn until_set(played: &Played, look: &str) -> Result<(), Failure> {
    tell::until(
        "the Redis of the played pods",
        Duration::from_secs(30),
        look,
        || {
            Ok(if played.is_set() {
                tell::Probe::Ready(())
            } else {
                tell::Probe::NotYet("it has not written its URL".to_owned())
            })
        },
    )
}
