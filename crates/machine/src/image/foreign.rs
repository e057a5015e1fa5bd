//! What a file is that is no kernel, if it is obvious.

/// Where a magic number stands, and what has it.
const KINDS: [(usize, &[u8], &str); 19] = [
    (0, b"\x1f\x8b", "gzip-compressed data in gzip-compressed data"),
    (0, b"\xfd7zXZ\0", "xz-compressed data"),
    (0, b"\x28\xb5\x2f\xfd", "zstd-compressed data"),
    (0, b"BZh", "bzip2-compressed data"),
    (0, b"\x02\x21\x4c\x18", "lz4-compressed data"),
    (0, b"070701", "a cpio archive, that is an initrd"),
    (0, b"070702", "a cpio archive, that is an initrd"),
    (0, b"!<arch>\ndebian-binary", "a Debian package (unpack it with dpkg-deb -x)"),
    (0, b"!<arch>", "an ar archive"),
    (0, b"QFI\xfb", "a qcow2 disk image"),
    (0, b"vhdxfile", "a VHDX disk image"),
    (0, b"conectix", "a VHD disk image"),
    (0, b"#!", "a script"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"\x7fELF", "an ELF file of another kind"),
    (0, b"MZ", "a DOS or EFI program without a Linux header"),
    (257, b"ustar", "a tar archive"),
    (0x8001, b"CD001", "a CD image"),
    (510, b"\x55\xaa", "a disk image with a boot sector"),
];

pub fn describe(bytes: &[u8]) -> &'static str {
    if bytes.is_empty() {
        return "an empty file";
    }
    let is = |(offset, magic, _): &&(usize, &[u8], &str)| {
        bytes.get(*offset..).is_some_and(|rest| rest.starts_with(magic))
    };
    if let Some((_, _, name)) = KINDS.iter().find(is) {
        return name;
    }
    let start = &bytes[..bytes.len().min(512)];
    let text = start.iter().all(|b| matches!(b, b'\t' | b'\n' | b'\r' | 0x20..0x7f));
    if text { "text" } else { "something else" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_initrd_is_recognized() {
        assert!(describe(b"070701000000").contains("initrd"));
    }

    #[test]
    fn text_is_recognized() {
        assert_eq!(describe(b"hello\n"), "text");
    }
}
