//! Puts a library where its program can run (I/O). In: the lock files and programs of `tests/workers`, compiled in, so
//! that a test binary needs no path back to them; out: a command line.
//!
//! What comes from a registry lies in a folder of the cache that is named after what decides it: the lock file and the
//! interpreter. The programs lie in folders inside it, each named after its text, so that a changed program installs
//! nothing anew, and two versions of this repository don't disturb each other.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use lockstep_cluster::cache::{self, Lock};
use lockstep_cluster::error::IoContext as _;
use lockstep_cluster::progress::Step;
use lockstep_cluster::tools::{self, Tool};
use sha2::{Digest as _, Sha256};

use crate::Error;
use crate::Library;
use crate::library::Runtime;

/// A file's name and text.
type File = (&'static str, &'static str);

/// Files of a folder beside this crate.
macro_rules! files {
    ($folder:literal: $($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../", $folder, "/", $name)))),*]
    };
}

const NODE_PACKAGES: &[File] = files!("node": "package.json", "package-lock.json");
const NODE_PROGRAMS: &[File] = files!(
    "node":
    "protocol.mjs", "redlock.mjs", "bull.mjs", "bullmq.mjs", "redis-semaphore.mjs",
);
const PYTHON_PACKAGES: &[File] = files!("python": "requirements.txt");
const PYTHON_PROGRAMS: &[File] = files!(
    "python":
    "protocol.py", "worker_redis.py", "worker_redis_lock.py", "worker_redbeat.py",
);

const JVM: &[File] = files!(
    "jvm":
    "pom.xml",
    "src/main/java/dev/lockstep/workers/Holder.java",
    "src/main/java/dev/lockstep/workers/Main.java",
    "src/main/java/dev/lockstep/workers/RedissonHolder.java",
    "src/main/java/dev/lockstep/workers/Settings.java",
    "src/main/java/dev/lockstep/workers/ShedLockHolder.java",
    "src/main/java/dev/lockstep/workers/Spring.java",
    "src/main/java/dev/lockstep/workers/SpringHolder.java",
);

/// A hosts file for a program of Java, beside it in its working folder: the pod's name has to have an address there, as
/// it has in a container.
pub(crate) const HOSTS: &str = "hosts";

const NODE: Tool = tool("node", "nodejs");
const NPM: Tool = tool("npm", "npm");
const PYTHON: Tool = tool("python3", "python3-venv");

const JAVA: Tool = tool("java", "default-jdk-headless");
const JAVAC: Tool = tool("javac", "default-jdk-headless");
const MAVEN: Tool = tool("mvn", "maven");

const fn tool(program: &'static str, debian_package: &'static str) -> Tool {
    Tool {
        program,
        debian_package,
    }
}

/// The file in an installed folder that says that it is whole.
const WHOLE: &str = "whole";

/// A program and its arguments.
pub(crate) struct CommandLine {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<OsString>,
}

impl CommandLine {
    fn new(program: impl Into<PathBuf>, argument: impl Into<OsString>) -> Self {
        Self {
            program: program.into(),
            arguments: vec![argument.into()],
        }
    }
}

/// How the library's program is started, once all that it needs is there.
pub(crate) fn command(library: Library) -> Result<CommandLine, Error> {
    match library.runtime() {
        Runtime::Node(program, argument) => node(program, argument),
        Runtime::Python(program) => python(program),
        Runtime::Rust(program) => rust(program),
        Runtime::Jvm(argument) => jvm(argument),
    }
}

/// The program beside this one, built first. Cargo knows what is up to date; asked once per process, that takes no time.
fn rust(program: &str) -> Result<CommandLine, Error> {
    static BUILT: Mutex<Option<PathBuf>> = Mutex::new(None);
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = if let Some(folder) = &*built {
        folder.clone()
    } else {
        let this = env::current_exe().while_trying("find", Path::new("this program"))?;
        // Tests lie in a folder of their own, `deps`.
        let folder = this.ancestors().skip(1).find(|folder| !folder.ends_with("deps"));
        let folder = folder.unwrap_or(&this).to_owned();
        let (name, target) = (
            folder.file_name().unwrap_or_default(),
            folder.parent().unwrap_or(&folder),
        );
        let mut command = tools::cargo();
        command
            .args([
                "build",
                "--quiet",
                "--package",
                "lockstep-workers-rust",
                "--profile",
            ])
            .arg(if name == "debug" { "dev".as_ref() } else { name })
            .arg("--target-dir")
            .arg(target)
            .current_dir(env!("CARGO_MANIFEST_DIR"));
        let step = Step::start(
            "build the workers of Rust",
            "a second, or a minute for the first time",
        );
        tools::run(&mut command)?;
        step.done();
        built.insert(folder).clone()
    };
    Ok(CommandLine {
        program: folder.join(program),
        arguments: Vec::new(),
    })
}

fn node(program: &str, argument: Option<&str>) -> Result<CommandLine, Error> {
    tools::require(&[NODE, NPM])?;
    let interpreter = found(&NODE);
    let version = tools::run(Command::new(&interpreter).arg("--version"))?;
    let packages = installed("node", &[&version], NODE_PACKAGES, "10 s", |folder| {
        let mut install = Command::new(found(&NPM));
        // None of the packages needs its scripts to work.
        install
            .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
            .current_dir(folder);
        Ok(tools::run(&mut install).map(drop)?)
    })?;
    let programs = written(&packages, NODE_PROGRAMS)?;
    let mut command = CommandLine::new(interpreter, programs.join(program));
    command.arguments.extend(argument.map(OsString::from));
    Ok(command)
}

fn python(program: &str) -> Result<CommandLine, Error> {
    tools::require(&[PYTHON])?;
    let interpreter = found(&PYTHON);
    // Its version, and where it lives: an environment is of no use without the interpreter that made it.
    let facts = "import ensurepip, sys, venv; print(sys.version, sys.base_prefix)";
    let facts = tools::run(Command::new(&interpreter).args(["-c", facts])).map_err(|_| {
        lockstep_cluster::Error::MissingTool {
            tool: "python3 with the modules venv and ensurepip".to_owned(),
            next_step: "on Debian or Ubuntu, install them as root with `apt-get install python3-venv`"
                .to_owned(),
        }
    })?;
    let packages = installed("python", &[&facts], PYTHON_PACKAGES, "half a minute", |folder| {
        let environment = folder.join("venv");
        tools::run(Command::new(&interpreter).args(["-m", "venv"]).arg(&environment))?;
        let mut install = Command::new(environment.join("bin/python"));
        install
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args([
                "--no-deps",
                "--require-hashes",
                "--requirement",
                "requirements.txt",
            ])
            .current_dir(folder);
        Ok(tools::run(&mut install).map(drop)?)
    })?;
    let programs = written(&packages, PYTHON_PROGRAMS)?;
    let interpreter = packages.join("venv/bin/python");
    Ok(CommandLine::new(interpreter, programs.join(program)))
}

fn jvm(argument: &str) -> Result<CommandLine, Error> {
    tools::require(&[JAVA, JAVAC, MAVEN])?;
    let interpreter = found(&JAVA);
    let compiler = tools::run(Command::new(found(&JAVAC)).arg("-version"))?;
    // Programs and libraries together: compiling takes two seconds.
    let built = installed("jvm", &[&compiler], JVM, "20 s", |folder| {
        let maven = |network: &[&str]| {
            let goals = [
                "--batch-mode",
                "--quiet",
                "compile",
                "dependency:copy-dependencies",
            ];
            tools::run(
                Command::new(found(&MAVEN))
                    .args(network)
                    .args(goals)
                    .current_dir(folder),
            )
        };
        // What Maven has already is enough where there is no network.
        if maven(&["--offline"]).is_err() {
            maven(&[])?;
        }
        Ok(())
    })?;
    let target = built.join("target");
    let mut classes = target.join("classes").into_os_string();
    classes.push(":");
    classes.push(target.join("dependency/*"));
    // Started often, and small.
    let flags = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx96m"];
    let mut arguments: Vec<OsString> = flags.iter().map(OsString::from).collect();
    arguments.push(format!("-Djdk.net.hosts.file={HOSTS}").into());
    arguments.extend([
        "-cp".into(),
        classes,
        "dev.lockstep.workers.Main".into(),
        argument.into(),
    ]);
    Ok(CommandLine {
        program: interpreter,
        arguments,
    })
}

fn found(tool: &Tool) -> PathBuf {
    tools::find(tool.program).unwrap_or_else(|| tool.program.into())
}

/// A folder of the cache with these files, and with what `install` adds to them; filled once, by one process.
fn installed(
    name: &str,
    facts: &[&str],
    files: &[File],
    expected: &str,
    install: impl FnOnce(&Path) -> Result<(), Error>,
) -> Result<PathBuf, Error> {
    let key = format!("workers-{name}-{}", digest(facts, files));
    let folder = cache::folder()?.join("workers").join(&key);
    if folder.join(WHOLE).exists() {
        return Ok(folder);
    }
    let _lock = Lock::take(&key)?;
    // Whoever had the lock may have done it.
    if folder.join(WHOLE).exists() {
        return Ok(folder);
    }
    let step = Step::start(&format!("install the lock libraries for {name}"), expected);
    // The lock is held: what lies here is from an installation that was cut off.
    if folder.exists() {
        fs::remove_dir_all(&folder).while_trying("remove", &folder)?;
    }
    write(&folder, files)?;
    install(&folder)?;
    write(&folder, &[(WHOLE, "")])?;
    step.done();
    Ok(folder)
}

/// A folder inside of `parent` with these files.
fn written(parent: &Path, files: &[File]) -> Result<PathBuf, Error> {
    let name = format!("programs-{}", digest(&[], files));
    let folder = parent.join(&name);
    if !folder.join(WHOLE).exists() {
        let _lock = Lock::take(&format!("workers-{name}"))?;
        write(&folder, files)?;
        write(&folder, &[(WHOLE, "")])?;
    }
    Ok(folder)
}

fn write(folder: &Path, files: &[File]) -> Result<(), Error> {
    for (name, text) in files {
        let path = folder.join(name);
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent).while_trying("create", parent)?;
        fs::write(&path, text).while_trying("write", &path)?;
    }
    Ok(())
}

/// Enough of a hash to tell what decides a result.
fn digest(facts: &[&str], files: &[File]) -> String {
    let mut hash = Sha256::new();
    for text in facts
        .iter()
        .chain(files.iter().flat_map(|(name, text)| [name, text]))
    {
        hash.update(text.len().to_le_bytes());
        hash.update(text);
    }
    let hash = hash.finalize();
    let first: [u8; 8] = std::array::from_fn(|index| hash[index]);
    format!("{:016x}", u64::from_be_bytes(first))
}
