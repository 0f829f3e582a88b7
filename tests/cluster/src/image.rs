//! Container images from local files, without a registry and without an image builder.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use crate::Error;
use crate::error::IoContext;
use crate::{digest, tools};

/// Nobody in particular; the user that distroless images call `nonroot`.
const NONROOT: u32 = 65532;

/// An image of one layer that holds local files and nothing else. Pods use it with `imagePullPolicy: Never`.
#[derive(Debug, Clone)]
pub struct Image {
    name: String,
    directories: Vec<(String, u32)>,
    files: Vec<ImageFile>,
    entrypoint: Vec<String>,
    command: Vec<String>,
    user: u32,
    environment: Vec<(String, String)>,
    working_directory: String,
}

#[derive(Debug, Clone)]
struct ImageFile {
    source: PathBuf,
    target: String,
    mode: u32,
}

impl Image {
    /// An empty image with a full name, e.g. `lockstep.dev/operator:dev`, that runs as user 65532.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            directories: vec![("/tmp".to_owned(), 0o1777)],
            files: Vec::new(),
            entrypoint: Vec::new(),
            command: Vec::new(),
            user: NONROOT,
            environment: vec![("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned())],
            working_directory: "/".to_owned(),
        }
    }

    /// `redis-server` and `redis-cli` of this machine. Starts a server on port 6379 that keeps nothing on
    /// disk and asks for no password; `args` of a pod replace all of that.
    pub fn redis(name: &str) -> Result<Self, Error> {
        tools::require(&[tools::REDIS_SERVER, tools::REDIS_CLI])?;
        let found = |program: &str| tools::find(program).unwrap_or_default();
        Ok(Self::new(name)
            .program(&found("redis-server"), "/usr/bin/redis-server")?
            .program(&found("redis-cli"), "/usr/bin/redis-cli")?
            .entrypoint(["/usr/bin/redis-server"])
            .command([
                "--save",
                "",
                "--appendonly",
                "no",
                "--protected-mode",
                "no",
                "--dir",
                "/tmp",
            ]))
    }

    /// Adds a file of this machine.
    #[must_use]
    pub fn file(mut self, source: impl AsRef<Path>, target: &str, mode: u32) -> Self {
        let source = source.as_ref().to_owned();
        self.files.push(ImageFile {
            source,
            target: target.to_owned(),
            mode,
        });
        self
    }

    /// Adds a program of this machine and the shared libraries that it is linked with.
    pub fn program(self, source: &Path, target: &str) -> Result<Self, Error> {
        let mut image = self.file(source, target, 0o755);
        for library in shared_libraries(source)? {
            let path = library.to_string_lossy().into_owned();
            if !image.files.iter().any(|file| file.target == path) {
                image = image.file(library, &path, 0o755);
            }
        }
        Ok(image)
    }

    /// Adds an empty folder. Those above files are made anyway.
    #[must_use]
    pub fn directory(mut self, target: &str, mode: u32) -> Self {
        self.directories.push((target.to_owned(), mode));
        self
    }

    /// What a container runs.
    #[must_use]
    pub fn entrypoint<S: Into<String>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.entrypoint = words.into_iter().map(Into::into).collect();
        self
    }

    /// Arguments of the entry point, which `args` of a pod replace.
    #[must_use]
    pub fn command<S: Into<String>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.command = words.into_iter().map(Into::into).collect();
        self
    }

    /// Who a container runs as.
    #[must_use]
    pub fn user(mut self, user: u32) -> Self {
        self.user = user;
        self
    }

    /// Adds a variable to the environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Where a container starts.
    #[must_use]
    pub fn working_directory(mut self, path: &str) -> Self {
        path.clone_into(&mut self.working_directory);
        self
    }

    /// The full name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Writes the image as an archive in the layout of the Open Container Initiative.
    pub(crate) fn write_archive(&self, folder: &Path) -> Result<TemporaryFile, Error> {
        let layer = TemporaryFile::new(folder, "layer");
        self.write_layer(layer.path())?;
        let layer_digest = digest::of_file(layer.path())?;
        let layer_size = fs::metadata(layer.path())
            .while_trying("read", layer.path())?
            .len();

        let variables: Vec<_> = self
            .environment
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let config = json!({
            "architecture": go_architecture(),
            "os": "linux",
            "config": {
                "User": self.user.to_string(),
                "Env": variables,
                "Entrypoint": self.entrypoint,
                "Cmd": self.command,
                "WorkingDir": self.working_directory,
            },
            // Nothing is compressed, so this is also the digest of the blob.
            "rootfs": {"type": "layers", "diff_ids": [layer_digest]},
        });
        let config = config.to_string();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.oci.image.config.v1+json", &digest::of_text(&config), config.len()),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer_digest, layer_size)],
        });
        let manifest = manifest.to_string();
        let mut manifest_descriptor = descriptor(
            "application/vnd.oci.image.manifest.v1+json",
            &digest::of_text(&manifest),
            manifest.len(),
        );
        manifest_descriptor["annotations"] = json!({"io.containerd.image.name": self.name});
        let index = json!({"schemaVersion": 2, "manifests": [manifest_descriptor]}).to_string();

        let archive = TemporaryFile::new(folder, "image");
        let write = || -> io::Result<()> {
            let mut builder = Builder::new(File::create(archive.path())?);
            append_text(&mut builder, "oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#)?;
            append_text(&mut builder, "index.json", &index)?;
            append_text(&mut builder, &blob_path(&digest::of_text(&manifest)), &manifest)?;
            append_text(&mut builder, &blob_path(&digest::of_text(&config)), &config)?;
            let mut header = header(EntryType::Regular, 0o644, layer_size);
            builder.append_data(&mut header, blob_path(&layer_digest), File::open(layer.path())?)?;
            builder.into_inner()?.sync_data()
        };
        write().while_trying("write", archive.path())?;
        Ok(archive)
    }

    fn write_layer(&self, path: &Path) -> Result<(), Error> {
        let file = File::create(path).while_trying("create", path)?;
        let mut builder = Builder::new(file);
        for (target, mode) in &self.directories {
            let mut header = header(EntryType::Directory, *mode, 0);
            builder
                .append_data(&mut header, format!("{}/", relative(target)), io::empty())
                .while_trying("write", path)?;
        }
        for ImageFile { source, target, mode } in &self.files {
            let content = File::open(source).while_trying("open", source)?;
            let size = content.metadata().while_trying("read", source)?.len();
            let mut header = header(EntryType::Regular, *mode, size);
            builder
                .append_data(&mut header, relative(target), content)
                .while_trying("pack", source)?;
        }
        builder.finish().while_trying("write", path)
    }
}

/// A file that goes with its owner.
#[derive(Debug)]
pub(crate) struct TemporaryFile(PathBuf);

impl TemporaryFile {
    fn new(folder: &Path, purpose: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self(folder.join(format!("{purpose}-{}-{number}.tar", std::process::id())))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        // It may never have been written.
        let _ = fs::remove_file(&self.0);
    }
}

/// The shared libraries of a program with the loader that finds them; none for a static one.
fn shared_libraries(program: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut command = Command::new("ldd");
    command.arg(program);
    let output = command.output().map_err(|source| Error::Io {
        action: "run ldd".to_owned(),
        source,
    })?;
    if String::from_utf8_lossy(&output.stderr).contains("not a dynamic executable") {
        return Ok(Vec::new());
    }
    let listing = tools::checked(&command, &output)?;
    // `name => /path (address)`, `/path (address)` for the loader, and no path for what the kernel provides.
    let path = |line: &str| {
        line.split_whitespace()
            .find(|word| word.starts_with('/'))
            .map(PathBuf::from)
    };
    Ok(listing.lines().filter_map(path).collect())
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    // The same files make the same image, whenever and by whomever.
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn append_text(builder: &mut Builder<File>, name: &str, text: &str) -> io::Result<()> {
    let mut header = header(EntryType::Regular, 0o644, text.len() as u64);
    builder.append_data(&mut header, name, text.as_bytes())
}

fn relative(target: &str) -> &str {
    target.trim_start_matches('/')
}

fn descriptor(media_type: &str, digest: &str, size: impl Into<Value>) -> Value {
    json!({"mediaType": media_type, "digest": digest, "size": size.into()})
}

fn blob_path(digest: &str) -> String {
    format!("blobs/{}", digest.replace(':', "/"))
}

/// The name of this processor in the world of images.
fn go_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_files_make_the_same_archive() {
        let image = Image::new("lockstep.dev/test:1").file("Cargo.toml", "/etc/a", 0o644);
        let folder = std::env::temp_dir();
        let archives = [(); 2].map(|()| image.write_archive(&folder).unwrap());
        let digests = archives
            .each_ref()
            .map(|archive| digest::of_file(archive.path()).unwrap());
        assert_eq!(digests[0], digests[1]);
    }

    #[test]
    fn a_dynamic_program_brings_its_libraries() {
        let shell = tools::find("sh").unwrap();
        let image = Image::new("lockstep.dev/test:1")
            .program(&shell, "/bin/sh")
            .unwrap();
        assert!(image.files.iter().any(|file| file.target.contains("libc.so")));
    }
}
