//! The namespaces that a real node lives in.
//!
//! containerd, kubelet and kube-proxy mount file systems, make network devices, write rules into the kernel
//! and start processes that detach themselves. On the bare machine each of these needs its own clean-up, and
//! a crash skips it. Here all of it happens in a mount, a network and a process namespace of its own: when
//! the first process of that process namespace is killed, the kernel ends every process in it and takes the
//! mounts, devices, addresses and rules along. Outside there is only one end of a virtual cable, which goes
//! with its other end.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::cache::Lock;
use crate::processes::{Launcher, Spec, Supervisor};
use crate::wait::Probe;
use crate::{Error, tools};

/// The process that holds the namespaces open.
const HOLDER: &str = "namespaces";

/// Runs as the first process inside, with a file to make when it is done and the name of a control group.
const INSIDE: &str = r#"
set -e
# Container programs write here whatever their settings say.
for folder in /run /var/lib /var/log; do mount -t tmpfs tmpfs "$folder"; done

# kubelet insists on these kernel settings, and they belong to the whole machine: it gets files to write to.
mkdir /run/settings
for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
    kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000
do
    path=${setting%=*}
    copy=/run/settings/${path##*/}
    echo "${setting#*=}" >"$copy"
    [ ! -e "/proc/sys/$path" ] || mount --bind "$copy" "/proc/sys/$path"
done

# kubelet starts below a control group only if it exists in every hierarchy.
for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/*/; do
    [ -e "$hierarchy/cgroup.procs" ] || continue
    mkdir -p "$hierarchy/$2"
    # Of the first version, this one takes no process before it is told its processors.
    for file in cpuset.cpus cpuset.mems; do
        [ ! -e "$hierarchy/tasks" ] || [ ! -e "$hierarchy/$file" ] || cat "$hierarchy/$file" >"$hierarchy/$2/$file"
    done
done

mount --make-rshared /
ip link set lo up
echo 1 >/proc/sys/net/ipv4/ip_forward
: >"$1"
exec sleep infinity
"#;

/// The programs that this needs; the first two belong to every Linux.
pub(crate) const TOOLS: [tools::Tool; 3] = [
    tools::Tool {
        program: "unshare",
        debian_package: "util-linux",
    },
    tools::Tool {
        program: "nsenter",
        debian_package: "util-linux",
    },
    tools::Tool {
        program: "ip",
        debian_package: "iproute2",
    },
];

/// One of the places for a node on this machine: it decides on names and addresses, so that nodes don't
/// collide.
#[derive(Debug)]
pub(crate) struct Slot {
    number: u8,
    pub(crate) lock: Lock,
}

impl Slot {
    /// Takes a place that nobody has.
    pub(crate) fn take() -> Result<Self, Error> {
        const SLOTS: u8 = 8;
        // Not in the cache: the place belongs to the machine, whoever's cache is used.
        let folder = if Path::new("/run/lock").is_dir() {
            "/run/lock"
        } else {
            "/tmp"
        };
        let mut holders = Vec::new();
        for number in 0..SLOTS {
            let path = Path::new(folder).join(format!("lockstep-node-{number}"));
            match Lock::try_take(&path)? {
                Some(lock) => return Ok(Self { number, lock }),
                None => holders.push(Lock::holder(&path)),
            }
        }
        Err(Error::NodeSlotsTaken { holders })
    }

    /// Our end of the cable; pods reach the apiserver here.
    pub(crate) fn outer_address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 253, self.number, 1)
    }

    /// The node's end, which is the node's address.
    pub(crate) fn node_address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 253, self.number, 2)
    }

    /// Addresses of pods.
    pub(crate) fn pod_range(&self) -> String {
        format!("10.252.{}.0/24", self.number)
    }

    /// Addresses of services.
    pub(crate) fn service_range(&self) -> String {
        format!("10.251.{}.0/24", self.number)
    }

    /// The first service address, that of `kubernetes`.
    pub(crate) fn first_service(&self) -> IpAddr {
        Ipv4Addr::new(10, 251, self.number, 1).into()
    }

    /// The control group that all containers of the node are in.
    pub(crate) fn control_group(&self) -> String {
        format!("lockstep-node-{}", self.number)
    }

    /// What is left when all processes are gone: control groups, which have no namespace in version 1.
    pub(crate) fn cleanup_command(&self) -> String {
        let group = self.control_group();
        format!("find /sys/fs/cgroup -depth -type d -path '*/{group}*' -exec rmdir {{}} +")
    }
}

/// The namespaces of a running node.
#[derive(Debug)]
pub(crate) struct Namespaces {
    holder: u32,
}

impl Namespaces {
    /// Makes the namespaces and connects them with the machine.
    pub(crate) fn start(supervisor: &Supervisor, slot: &Slot) -> Result<Self, Error> {
        let ready = supervisor.folder().join("namespaces-ready");
        let spec = Spec::new(HOLDER, "unshare")
            .args([
                "--mount",
                "--net",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
            ])
            .args(["sh", "-c", INSIDE, HOLDER])
            .arg(&ready)
            .arg(slot.control_group());
        supervisor.spawn(spec)?;
        supervisor.until(
            HOLDER,
            "the namespaces of the node",
            Duration::from_secs(20),
            || {
                Ok(if ready.exists() {
                    Probe::Ready(())
                } else {
                    Probe::NotYet("not set up yet".to_owned())
                })
            },
        )?;
        let holder = supervisor.pid(HOLDER).unwrap_or_default();
        let namespaces = Self { holder };
        namespaces.connect(slot)?;
        Ok(namespaces)
    }

    /// Lays a cable between machine and node, and tells each where the other's addresses are.
    fn connect(&self, slot: &Slot) -> Result<(), Error> {
        let cable = slot.control_group().replace("node-", "");
        let outer = slot.outer_address().to_string();
        let node = slot.node_address().to_string();
        let holder = self.holder.to_string();
        ip(&[
            "link", "add", &cable, "type", "veth", "peer", "name", "eth0", "netns", &holder,
        ])?;
        ip(&["address", "add", &format!("{outer}/30"), "dev", &cable])?;
        ip(&["link", "set", &cable, "up"])?;
        self.inner_ip(&["address", "add", &format!("{node}/30"), "dev", "eth0"])?;
        self.inner_ip(&["link", "set", "eth0", "up"])?;
        self.inner_ip(&["route", "add", "default", "via", &outer])?;
        for range in [slot.pod_range(), slot.service_range()] {
            ip(&["route", "add", &range, "via", &node, "dev", &cable])?;
        }
        Ok(())
    }

    fn inner_ip(&self, arguments: &[&str]) -> Result<(), Error> {
        let mut command = Command::new("nsenter");
        command.arg(self.network_argument()).arg("ip").args(arguments);
        tools::run(&mut command).map(drop)
    }

    fn network_argument(&self) -> String {
        format!("--net=/proc/{}/ns/net", self.holder)
    }

    /// Starts a program in the node's network only.
    pub(crate) fn network(&self) -> Launcher {
        let words = vec!["nsenter".to_owned(), self.network_argument()];
        Launcher { words, forks: false }
    }

    /// Starts a program in all of the node's namespaces.
    ///
    /// To enter a process namespace takes a fork; the death signal lets the inner process go with the outer one.
    pub(crate) fn all(&self) -> Launcher {
        let mut words = self.network().words;
        words.push(format!("--mount=/proc/{}/ns/mnt", self.holder));
        words.push(format!("--pid=/proc/{}/ns/pid_for_children", self.holder));
        words.extend(["setpriv", "--pdeathsig=KILL"].map(str::to_owned));
        Launcher { words, forks: true }
    }
}

fn ip(arguments: &[&str]) -> Result<(), Error> {
    tools::run(Command::new("ip").args(arguments)).map(drop)
}
