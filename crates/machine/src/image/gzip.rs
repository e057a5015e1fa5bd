//! Kernels in gzip (RFC 1952), as Debian's Xen is: a loader unpacks them.

use crate::MachineError;
use flate2::read::MultiGzDecoder;
use std::io::Read;

const MAGIC: &[u8] = b"\x1f\x8b\x08";

pub fn is(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// The start of what was packed, of a file's first bytes; `None` if that is not gzip.
pub fn head(bytes: &[u8]) -> Option<Vec<u8>> {
    const SECTORS: u64 = 4 * 512;
    let mut data = Vec::new();
    // That the rest is not there is no error.
    is(bytes).then(|| MultiGzDecoder::new(bytes).take(SECTORS).read_to_end(&mut data).ok())?;
    Some(data)
}

/// What was packed, of which there may be `memory` bytes at most.
pub fn unpack(name: &str, bytes: &[u8], memory: u64) -> Result<Vec<u8>, MachineError> {
    let mut data = Vec::new();
    // One byte more tells what ends there from what goes on.
    let unpacked = MultiGzDecoder::new(bytes).take(memory.saturating_add(1)).read_to_end(&mut data);
    if data.len() as u64 > memory {
        return Err(MachineError::FileTooLarge {
            what: "unpacked kernel",
            name: name.into(),
            memory_mib: memory >> 20,
        });
    }
    match unpacked {
        Ok(_) => Ok(data),
        Err(error) => {
            let why = format!("its gzip data is damaged after {} unpacked bytes ({error})", data.len());
            Err(MachineError::BadKernel { name: name.into(), why })
        }
    }
}

/// `bytes` packed, for tests.
#[cfg(test)]
pub(crate) fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    let mut encoder = flate2::read::GzEncoder::new(bytes, flate2::Compression::fast());
    encoder.read_to_end(&mut packed).unwrap();
    packed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_packed_comes_out() {
        assert_eq!(unpack("k", &pack(b"kernel"), 100).unwrap(), b"kernel");
    }

    #[test]
    fn a_packed_file_that_lost_its_end_is_refused() {
        let packed = pack(b"kernel");
        for length in MAGIC.len()..packed.len() {
            let error = unpack("k", &packed[..length], 100).unwrap_err().to_string();
            assert!(error.contains("gzip data is damaged"), "{error}");
        }
    }

    #[test]
    fn more_than_memory_holds_is_refused() {
        let error = unpack("k", &pack(&[0; 4096]), 4095).unwrap_err();
        assert!(matches!(error, MachineError::FileTooLarge { .. }), "{error:?}");
    }
}
