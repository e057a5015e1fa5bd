//! (being written by the lead) The block cache behind the run loop.

#[derive(Default)]
pub struct Code;

impl Code {
    pub fn new() -> std::io::Result<Self> {
        Ok(Self)
    }
}

impl crate::Cpu {
    /// Guest memory at `host` was written: forgets code that lies there.
    pub(crate) fn wrote_code(&mut self, _host: *mut u8, _count: usize) {}
}
