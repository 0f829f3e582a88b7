//! The programs of the cluster, built from pinned Go modules and kept outside the repository.
//!
//! Each module is a folder of this crate with a `go.mod` and a `go.sum`; they are compiled into the library,
//! so that a test binary needs no path back to its sources. The cache is keyed by what decides the result
//! (module files, flags, Go version): a changed pin builds anew, a clean clone finds what another clone
//! built.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::Error;
use crate::cache::{self, Lock};
use crate::error::IoContext;
use crate::progress::Step;
use crate::{digest, tools};

/// A pinned Go module and how its programs are built.
pub(crate) struct Module {
    name: &'static str,
    /// Files of the module: `go.mod`, `go.sum`, and sources if it has its own.
    files: &'static [(&'static str, &'static str)],
    flags: &'static [&'static str],
    programs: &'static [Program],
    /// Files of a dependency that are needed beside the programs: its module path and their paths in it.
    data: Option<(&'static str, &'static [&'static str])>,
    /// How long a build takes without any Go cache on two cores.
    expected: &'static str,
}

struct Program {
    name: &'static str,
    package: &'static str,
    /// What `go build` calls it.
    built_as: &'static str,
}

const fn program(name: &'static str, package: &'static str) -> Program {
    Program {
        name,
        package,
        built_as: name,
    }
}

/// `go.mod` and `go.sum` of a folder of this crate.
macro_rules! module_files {
    ($folder:literal $(, $source:literal)*) => {
        &[
            ("go.mod", include_str!(concat!("../", $folder, "/go.mod"))),
            $(($source, include_str!(concat!("../", $folder, "/", $source)))),*
        ]
    };
}

/// Without its version a server calls itself v0.0.0, and clients then refuse features by it.
const KUBERNETES_LDFLAGS: &str = "-ldflags=-s -w \
    -X k8s.io/component-base/version.gitVersion=v1.36.3 \
    -X k8s.io/component-base/version.gitMajor=1 \
    -X k8s.io/component-base/version.gitMinor=36";

pub(crate) static KUBERNETES: Module = Module {
    name: "kubernetes",
    files: module_files!("kubernetes", "go.sum"),
    flags: &[KUBERNETES_LDFLAGS],
    programs: &[
        Program {
            name: "etcd",
            package: "go.etcd.io/etcd/server/v3",
            built_as: "server",
        },
        program("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
        program(
            "kube-controller-manager",
            "k8s.io/kubernetes/cmd/kube-controller-manager",
        ),
        program("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
        program("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
        program("kubelet", "k8s.io/kubernetes/cmd/kubelet"),
        program("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"),
    ],
    data: None,
    expected: "6 minutes",
};

pub(crate) static KWOK: Module = Module {
    name: "kwok",
    files: module_files!("kwok", "go.sum"),
    flags: &["-ldflags=-s -w"],
    programs: &[program("kwok", "sigs.k8s.io/kwok/cmd/kwok")],
    data: Some((
        "sigs.k8s.io/kwok",
        &[
            "kustomize/stage/node/fast/node-initialize.yaml",
            "kustomize/stage/node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
            "kustomize/stage/pod/fast/pod-ready.yaml",
            "kustomize/stage/pod/fast/pod-complete.yaml",
            "kustomize/stage/pod/fast/pod-delete.yaml",
        ],
    )),
    expected: "2 minutes",
};

pub(crate) static CONTAINERD: Module = Module {
    name: "containerd",
    files: module_files!("containerd", "go.sum"),
    // Snapshotters that nobody uses here.
    flags: &["-ldflags=-s -w", "-tags=no_btrfs,no_zfs,no_devmapper"],
    programs: &[
        program("containerd", "github.com/containerd/containerd/v2/cmd/containerd"),
        program(
            "containerd-shim-runc-v2",
            "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
        ),
        program("ctr", "github.com/containerd/containerd/v2/cmd/ctr"),
    ],
    data: None,
    expected: "1 minute",
};

pub(crate) static COREDNS: Module = Module {
    name: "coredns",
    files: module_files!("coredns", "go.sum"),
    flags: &["-ldflags=-s -w"],
    programs: &[program("coredns", "github.com/coredns/coredns")],
    data: None,
    expected: "3 minutes",
};

/// Helm judges a chart by the Kubernetes version that was compiled in, unless it talks to a server.
const HELM3_LDFLAGS: &str = "-ldflags=-s -w \
    -X helm.sh/helm/v3/internal/version.version=v3.22.0 \
    -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1 \
    -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=36 \
    -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMajor=1 \
    -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor=36";

pub(crate) static HELM3: Module = Module {
    name: "helm3",
    files: module_files!("helm3", "go.sum"),
    flags: &[HELM3_LDFLAGS],
    programs: &[program("helm", "helm.sh/helm/v3/cmd/helm")],
    data: None,
    expected: "2 minutes",
};

pub(crate) static HELM4: Module = Module {
    name: "helm4",
    files: module_files!("helm4", "go.sum"),
    flags: &["-ldflags=-s -w -X helm.sh/helm/v4/internal/version.version=v4.3.1"],
    programs: &[program("helm", "helm.sh/helm/v4/cmd/helm")],
    data: None,
    expected: "2 minutes",
};

pub(crate) static PAUSE: Module = Module {
    name: "pause",
    files: module_files!("pause", "main.go"),
    flags: &["-ldflags=-s -w"],
    programs: &[program("pause", ".")],
    data: None,
    expected: "a few seconds",
};

/// A folder with built programs.
#[derive(Debug, Clone)]
pub(crate) struct Binaries(PathBuf);

impl Binaries {
    pub(crate) fn path(&self, program: &str) -> PathBuf {
        self.0.join(program)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.0
    }
}

impl Module {
    /// The folder that has the `wanted` programs, built first where they are not there yet.
    pub(crate) fn programs(&self, wanted: &[&str]) -> Result<Binaries, Error> {
        let key = self.key()?;
        let folder = cache::folder()?.join("bin").join(&key);
        if self.missing(&folder, wanted).is_empty() {
            return Ok(Binaries(folder));
        }
        let _lock = Lock::take(&key)?;
        // Whoever had the lock may have built them.
        let missing = self.missing(&folder, wanted);
        if !missing.is_empty() {
            self.build(&key, &folder, &missing)?;
        }
        Ok(Binaries(folder))
    }

    /// Paths of the files that come with the module, beside its programs.
    pub(crate) fn data(&self, binaries: &Binaries) -> Vec<PathBuf> {
        self.data_files()
            .map(|file| binaries.0.join(file_name(file)))
            .collect()
    }

    fn data_files(&self) -> impl Iterator<Item = &'static str> {
        self.data.iter().flat_map(|(_, files)| files.iter().copied())
    }

    /// Name and everything that decides what comes out.
    fn key(&self) -> Result<String, Error> {
        let mut hash = Sha256::new();
        hash.update(go(&["env", "GOVERSION", "GOOS", "GOARCH"])?);
        for (name, text) in self.files {
            hash.update(name);
            hash.update(text);
        }
        for flag in self.flags {
            hash.update(flag);
        }
        let mut digest = digest::hexadecimal(hash.finalize());
        digest.truncate(12);
        Ok(format!("{}-{digest}", self.name))
    }

    fn missing(&self, folder: &Path, wanted: &[&str]) -> Vec<&Program> {
        self.programs
            .iter()
            .filter(|program| wanted.contains(&program.name) && !folder.join(program.name).exists())
            .collect()
    }

    fn build(&self, key: &str, folder: &Path, programs: &[&Program]) -> Result<(), Error> {
        let names: Vec<_> = programs.iter().map(|program| program.name).collect();
        let step = Step::start(&format!("build {}", names.join(", ")), self.expected);

        // The lock is held: what lies here is from a build that was cut off.
        let workshop = cache::folder()?.join("build").join(key);
        if workshop.exists() {
            fs::remove_dir_all(&workshop).while_trying("remove", &workshop)?;
        }
        let output = workshop.join("output");
        fs::create_dir_all(&output).while_trying("create", &output)?;
        fs::create_dir_all(folder).while_trying("create", folder)?;
        for (name, text) in self.files {
            let path = workshop.join(name);
            fs::write(&path, text).while_trying("write", &path)?;
        }

        let mut command = Command::new(require_go()?);
        command
            .current_dir(&workshop)
            .env("CGO_ENABLED", "0")
            .env("GOWORK", "off")
            .args(["build", "-trimpath", "-buildvcs=false", "-mod=readonly"])
            .args(self.flags)
            .arg("-o")
            .arg(format!("{}/", output.display()))
            .args(programs.iter().map(|program| program.package));
        tools::run(&mut command)?;

        // Files first: a program in its place says that all is there.
        self.copy_data(&workshop, folder)?;
        for program in programs {
            let built = output.join(program.built_as);
            fs::rename(&built, folder.join(program.name)).while_trying("move into place", &built)?;
        }
        fs::remove_dir_all(&workshop).while_trying("remove", &workshop)?;
        step.done();
        Ok(())
    }

    fn copy_data(&self, workshop: &Path, folder: &Path) -> Result<(), Error> {
        let Some((dependency, files)) = self.data else {
            return Ok(());
        };
        let mut list = Command::new(require_go()?);
        list.current_dir(workshop)
            .env("GOWORK", "off")
            .args(["list", "-m", "-f", "{{.Dir}}", dependency]);
        let sources = PathBuf::from(tools::run(&mut list)?.trim());
        for file in files {
            let source = sources.join(file);
            let text = fs::read(&source).while_trying("read", &source)?;
            let copy = folder.join(file_name(file));
            fs::write(&copy, text).while_trying("write", &copy)?;
        }
        Ok(())
    }
}

fn file_name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

fn go(arguments: &[&str]) -> Result<String, Error> {
    tools::run(Command::new(require_go()?).args(arguments))
}

fn require_go() -> Result<PathBuf, Error> {
    tools::find("go").ok_or_else(|| Error::MissingTool {
        tool: "go".to_owned(),
        next_step: "the Kubernetes programs are built from source; install Go 1.26 or newer as \
                    https://go.dev/doc/install says, and put it on PATH"
            .to_owned(),
    })
}
