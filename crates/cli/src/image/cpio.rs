//! The newc archive that Linux unpacks as its first root file system (its documentation's
//! `driver-api/early-userspace/buffer-format`).

/// An archive under construction.
pub struct Cpio {
    bytes: Vec<u8>,
    inode: u32,
}

const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

impl Cpio {
    /// An archive that will hold about `size` bytes of files.
    pub fn with_capacity(size: usize) -> Self {
        Self { bytes: Vec::with_capacity(size + (64 << 10)), inode: 1 }
    }

    pub fn directory(&mut self, path: &str) {
        self.entry(path, DIRECTORY | 0o755, (0, 0), &[]);
    }

    pub fn file(&mut self, path: &str, permissions: u32, data: &[u8]) {
        self.entry(path, FILE | permissions, (0, 0), data);
    }

    pub fn link(&mut self, path: &str, target: &str) {
        self.entry(path, LINK | 0o777, (0, 0), target.as_bytes());
    }

    pub fn character_device(&mut self, path: &str, major: u32, minor: u32) {
        self.entry(path, CHARACTER_DEVICE | 0o600, (major, minor), &[]);
    }

    /// The whole archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.inode = 0;
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), data: &[u8]) {
        let name = path.trim_start_matches('/');
        let size = u32::try_from(data.len()).expect("files of the image are below 4 GiB");
        // c_ino, c_mode, c_uid, c_gid, c_nlink, c_mtime, c_filesize, c_maj, c_min, c_rmaj, c_rmin, c_namesize, c_chksum
        let fields = [self.inode, mode, 0, 0, 1, 0, size, 0, 0, device.0, device.1, name.len() as u32 + 1, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend_from_slice(data);
        self.align();
        self.inode += 1;
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    fn sample() -> Vec<u8> {
        let mut cpio = Cpio::with_capacity(100);
        cpio.directory("/dev");
        cpio.character_device("/dev/console", 5, 1);
        cpio.file("/init", 0o755, b"hello");
        cpio.link("/bin", "init");
        cpio.finish()
    }

    #[test]
    fn headers_names_and_data_are_aligned_to_four() {
        let archive = sample();
        assert_eq!(&archive[..6], b"070701");
        // 110 bytes of header, "dev" and its NUL: 114, so the next header is at 116.
        assert_eq!(&archive[116..122], b"070701");
        assert_eq!(archive.len() % 512, 0);
    }

    #[test]
    fn the_cpio_tool_reads_it_where_there_is_one() {
        let Ok(mut tool) =
            Command::new("cpio").arg("-tv").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()
        else {
            return;
        };
        tool.stdin.take().unwrap().write_all(&sample()).unwrap();
        let listing = String::from_utf8(tool.wait_with_output().unwrap().stdout).unwrap();
        assert!(listing.contains("5,   1") && listing.contains("bin -> init"), "{listing}");
    }
}
