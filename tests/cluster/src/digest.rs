//! SHA-256, as names of blobs and of cached builds.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::Error;
use crate::error::IoContext;

/// `sha256:…` of a text.
pub(crate) fn of_text(text: &str) -> String {
    format!("sha256:{}", hexadecimal(Sha256::digest(text)))
}

/// `sha256:…` of a file, which may be too large to hold.
pub(crate) fn of_file(path: &Path) -> Result<String, Error> {
    let mut file = File::open(path).while_trying("open", path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let length = file.read(&mut buffer).while_trying("read", path)?;
        if length == 0 {
            return Ok(format!("sha256:{}", hexadecimal(hash.finalize())));
        }
        hash.update(&buffer[..length]);
    }
}

pub(crate) fn hexadecimal(hash: impl AsRef<[u8]>) -> String {
    let bytes: Vec<_> = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.concat()
}
