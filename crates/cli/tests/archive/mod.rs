//! Archives that Linux unpacks as its first root file system (newc: driver-api/early-userspace/buffer-format).

#[derive(Default)]
pub struct Archive(Vec<u8>);

impl Archive {
    pub fn add(&mut self, name: &str, mode: u32, data: &[u8]) {
        let fields = [1, mode as usize, 0, 0, 1, 0, data.len(), 0, 0, 0, 0, name.len() + 1, 0];
        let bytes = &mut self.0;
        bytes.extend(b"070701");
        bytes.extend(fields.iter().flat_map(|field| format!("{field:08x}").into_bytes()));
        bytes.extend(name.bytes().chain([0]));
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }

    pub fn finish(mut self) -> Vec<u8> {
        self.add("TRAILER!!!", 0, &[]);
        self.0
    }
}
