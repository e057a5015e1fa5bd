//! A root file system as Linux unpacks it at its start.

use super::cpio::Cpio;

/// A root file system under construction, with the directories above what is in it.
pub struct Root {
    cpio: Cpio,
    directories: Vec<String>,
}

impl Root {
    pub fn new() -> Self {
        let mut root = Self { cpio: Cpio::with_capacity(64 << 20), directories: Vec::new() };
        for directory in ["dev", "proc", "sys", "tmp", "root", "bin", "run", "var/lib"] {
            root.directory(directory);
        }
        // The kernel opens it as init's standard input and output before anything is mounted.
        root.cpio.character_device("dev/console", 5, 1);
        root
    }

    fn directory(&mut self, path: &str) {
        if path.is_empty() || self.directories.iter().any(|made| made == path) {
            return;
        }
        self.above(path);
        self.cpio.directory(path);
        self.directories.push(path.to_owned());
    }

    fn above(&mut self, path: &str) {
        let (above, _) = path.rsplit_once('/').unwrap_or_default();
        self.directory(above);
    }

    pub fn program(&mut self, path: &str, data: &[u8]) {
        self.above(path);
        self.cpio.file(path, 0o755, data);
    }

    pub fn data(&mut self, path: &str, data: &[u8]) {
        self.above(path);
        self.cpio.file(path, 0o644, data);
    }

    pub fn link(&mut self, path: &str, target: &str) {
        self.above(path);
        self.cpio.link(path, target);
    }

    pub fn finish(self) -> Vec<u8> {
        self.cpio.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_above_their_files_and_there_once() {
        let mut root = Root::new();
        root.data("a/b/c", b"1");
        root.data("a/b/d", b"2");
        let made = root.directories.iter().filter(|path| path.starts_with('a')).collect::<Vec<_>>();
        assert_eq!(made, ["a", "a/b"]);
    }
}
