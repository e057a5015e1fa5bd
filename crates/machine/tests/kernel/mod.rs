//! Kernels of a few bytes.

use ireko_machine::Source;
use std::sync::Arc;

/// Where they lie.
const LOAD: u32 = 0x10_0000;

/// A flat multiboot kernel that runs `code` in 32-bit protected mode.
pub fn kernel(code: &[u8]) -> Source {
    kernel_at(LOAD, code)
}

/// The same at another address; the code is 32 bytes behind it.
pub fn kernel_at(load: u32, code: &[u8]) -> Source {
    const MAGIC: u32 = 0x1bad_b002;
    const HAS_ADDRESSES: u32 = 1 << 16;
    let sum = 0u32.wrapping_sub(MAGIC).wrapping_sub(HAS_ADDRESSES);
    let end = load + 32 + code.len() as u32;
    let header = [MAGIC, HAS_ADDRESSES, sum, load, load, end, end, load + 32];
    let mut bytes: Vec<u8> = header.iter().flat_map(|field| field.to_le_bytes()).collect();
    bytes.extend(code);
    Source::Bytes { name: "test".into(), data: Arc::new(bytes) }
}
