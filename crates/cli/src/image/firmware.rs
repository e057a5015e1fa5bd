//! Firmware, from Debian's own packages like the guest image and kept beside it.

use super::{apt, cache};
use crate::progress::Progress;
use crate::say;
use crate::user::in_use_by;
use anyhow::{Context, Result};
use ireko_machine::lock::{User, lock};
use ireko_machine::{Firmware, Source, Variables};
use ireko_manage::place;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A package, and what of it is kept.
pub struct Package {
    name: &'static str,
    files: &'static [&'static str],
}

const SEABIOS: Package = Package {
    name: "seabios",
    files: &["usr/share/seabios/bios-256k.bin", "usr/share/seabios/vgabios-stdvga.bin"],
};
/// The build of 2 MiB, which is the quicker one: all its phases run in 64-bit mode, and it maps memory by the largest pages. For secure
/// boot that of 4 MiB, with room for lists of what is revoked; its variables have the keys that Debian's loaders are signed with.
const OVMF: Package = Package {
    name: "ovmf",
    files: &[
        "usr/share/OVMF/OVMF_CODE.fd",
        "usr/share/OVMF/OVMF_VARS.fd",
        "usr/share/OVMF/OVMF_CODE_4M.secboot.fd",
        "usr/share/OVMF/OVMF_VARS_4M.ms.fd",
    ],
};

/// SeaBIOS' driver for virtio's network adapters; OVMF has its own.
const IPXE: Package = Package { name: "ipxe-qemu", files: &["usr/lib/ipxe/qemu/pxe-virtio.rom"] };

/// Sees to it that a generation's firmware is kept, with what it needs to start from a `network`; without that it starts from all else.
pub fn know(generation: u8, network: bool, progress: &Progress) -> Result<()> {
    if generation == 1
        && network
        && let Err(error) = ensure(&IPXE, progress)
    {
        say!("ireko: warning: nothing starts from the network: {error:#}");
    }
    ensure(if generation == 1 { &SEABIOS } else { &OVMF }, progress).map(drop)
}

/// SeaBIOS, opened: a reset finds the same. With what starts from a `network`, if that is asked for and kept.
pub fn bios(network: bool, progress: &Progress) -> Result<Firmware> {
    let files = ensure(&SEABIOS, progress)?;
    let open = |file: &PathBuf, what| Source::from(file.as_path()).open(what);
    let ipxe = if network { in_cache(&IPXE, &cache()?)? } else { None };
    Ok(Firmware::Bios {
        image: open(&files[0], "firmware")?,
        video: Some(open(&files[1], "video BIOS")?),
        network: ipxe.map(|files| open(&files[0], "network adapter's BIOS")).transpose()?,
    })
}

/// The display's part of SeaBIOS, for another BIOS.
pub fn video(progress: &Progress) -> Result<Source> {
    let files = ensure(&SEABIOS, progress)?;
    Ok(Source::from(files[1].as_path()).open("video BIOS")?)
}

/// OVMF, opened, with its variables: in a file, which is made if it is not there, or lost at the end. With `secure` boot it starts only
/// what is signed.
pub fn uefi(variables: Option<&Path>, secure: bool, progress: &Progress) -> Result<Firmware> {
    let files = ensure(&OVMF, progress)?;
    let (code, template) = if secure { (&files[2], &files[3]) } else { (&files[0], &files[1]) };
    let code = Source::from(code.as_path()).open("firmware")?;
    let variables = match variables {
        Some(path) => Variables { name: path.display().to_string(), file: Arc::new(kept(path, template)?) },
        None => Variables { name: "UEFI's variables".into(), file: Arc::new(lost(template)?) },
    };
    Ok(Firmware::Uefi { code, variables, secure_boot: secure })
}

/// A file that is as `template` when it is made. It is made as a whole or not at all.
fn kept(path: &Path, template: &Path) -> Result<File> {
    let failed = || format!("cannot keep UEFI's variables in {}", path.display());
    if !path.exists() {
        let draft = path.with_extension(format!("new-{}", std::process::id()));
        let made = fs::copy(template, &draft)
            .and_then(|_| fs::set_permissions(&draft, fs::Permissions::from_mode(0o600)))
            .and_then(|()| File::open(&draft)?.sync_all())
            .and_then(|()| fs::rename(&draft, path));
        if made.is_err() {
            let _ = fs::remove_file(&draft);
        }
        made.with_context(failed)?;
    }
    let file = ireko_machine::open_file(path, false).with_context(failed)?;
    lock(&file, false).map_err(|user| in_use(path, user))?;
    Ok(file)
}

fn in_use(path: &Path, user: User) -> anyhow::Error {
    anyhow::anyhow!(
        "UEFI's variables in {} are in use by {}; end that, or give this virtual machine a file of its own",
        path.display(),
        in_use_by(&user)
    )
}

/// A file without a name.
fn lost(template: &Path) -> Result<File> {
    let path = std::env::temp_dir().join(format!("ireko-variables-{}", std::process::id()));
    let mut options = File::options();
    let opened = options.read(true).write(true).create_new(true).mode(0o600).open(&path);
    let mut file = opened.with_context(|| format!("cannot make {}", path.display()))?;
    let _ = fs::remove_file(&path);
    file.write_all(&fs::read(template)?).context("cannot keep UEFI's variables")?;
    Ok(file)
}

/// Ends the names of what is kept; another whenever what is kept changes.
const RECIPE: &str = "r3";

/// The files of a package, in its order; got by apt first if they are not there.
fn ensure(package: &Package, progress: &Progress) -> Result<Vec<PathBuf>> {
    let cache = cache()?;
    match in_cache(package, &cache)? {
        Some(files) => Ok(files),
        None => files_in(package, &fetch(package, &cache, progress)?),
    }
}

fn cache() -> Result<PathBuf> {
    let cache = cache::directory()?;
    place::check(&cache).context("the cache of firmware is not used; IREKO_CACHE can name another place")?;
    Ok(cache)
}

/// The files of a package that was got before.
fn in_cache(package: &Package, cache: &Path) -> Result<Option<Vec<PathBuf>>> {
    let directory = cache::newest(cache, &start(package), RECIPE);
    directory.map(|directory| files_in(package, &directory)).transpose()
}

fn files_in(package: &Package, directory: &Path) -> Result<Vec<PathBuf>> {
    let files: Vec<PathBuf> = package.files.iter().map(|path| directory.join(name(path))).collect();
    files.iter().try_for_each(|file| whole(file, directory))?;
    Ok(files)
}

/// What was cut or lost since it was kept would be blamed on something else later.
fn whole(file: &Path, directory: &Path) -> Result<()> {
    let data = fs::read(file).unwrap_or_default();
    anyhow::ensure!(
        is_whole(&data),
        "the firmware that is kept in {} is damaged ({} bytes can be read); remove the directory {}, and the next start gets it anew",
        file.display(),
        data.len(),
        directory.display()
    );
    Ok(())
}

/// Whether it ends where it says: a file of UEFI's is volumes one behind the other (PI specification, vol. 3, 3.2.1), an option ROM begins
/// with its size in units of 512 bytes, and a BIOS ends with the far jump at the reset vector and what is behind it.
fn is_whole(data: &[u8]) -> bool {
    const VOLUME: &[u8] = b"_FVH";
    const JUMP: u8 = 0xea;
    let mut rest = data;
    while rest.get(40..44) == Some(VOLUME) {
        let size = u64::from_le_bytes(rest[32..40].try_into().unwrap_or_default());
        let Some(behind) =
            usize::try_from(size).ok().filter(|size| *size > 0).and_then(|size| rest.get(size..))
        else {
            return false;
        };
        if behind.is_empty() {
            return true;
        }
        rest = behind;
    }
    match data {
        [0x55, 0xaa, units, ..] => data.len() == usize::from(*units) * 512,
        _ => data.len() >= 16 && data[data.len() - 16] == JUMP,
    }
}

fn start(package: &Package) -> String {
    format!("firmware-{}_", package.name)
}

fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn fetch(package: &Package, cache: &Path, progress: &Progress) -> Result<PathBuf> {
    apt::know(package.name, progress)?;
    let draft = cache::Draft::new(cache)?;
    let files = apt::download(&[package.name], draft.path(), progress)?;
    let kept = draft.path().join("files");
    fs::create_dir(&kept)?;
    let mut missing: Vec<_> = package.files.to_vec();
    let wanted = |path: &str| package.files.contains(&path);
    apt::unpack(&files[0], wanted, |path, data| {
        missing.retain(|other| *other != path);
        fs::write(kept.join(name(&path)), data).context("cannot keep firmware in the cache")
    })?;
    anyhow::ensure!(missing.is_empty(), "the package {} has no {}", package.name, missing.join(" and no "));
    draft.keep("files", &format!("firmware-{}+{RECIPE}", apt::stem(&files[0])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(size: u64) -> Vec<u8> {
        let mut data = vec![0; size as usize];
        data[32..40].copy_from_slice(&size.to_le_bytes());
        data[40..44].copy_from_slice(b"_FVH");
        data
    }

    fn cut(data: &[u8]) -> &[u8] {
        &data[..data.len() - 16]
    }

    #[test]
    fn volumes_are_whole_to_the_end_of_the_last() {
        let data = [volume(4096), volume(8192)].concat();
        assert!(is_whole(&data) && !is_whole(cut(&data)) && !is_whole(&data[..4196]));
    }

    #[test]
    fn an_option_rom_has_the_size_that_it_says() {
        let mut data = vec![0; 1024];
        data[..3].copy_from_slice(&[0x55, 0xaa, 2]);
        assert!(is_whole(&data) && !is_whole(cut(&data)));
    }

    #[test]
    fn a_bios_has_its_reset_vector() {
        let mut data = vec![0; 4096];
        data[4080] = 0xea;
        assert!(is_whole(&data) && !is_whole(cut(&data)) && !is_whole(&[]));
    }

    #[test]
    fn what_is_damaged_is_named_with_what_to_remove() {
        let said = whole(Path::new("/x/bios"), Path::new("/x")).unwrap_err().to_string();
        assert!(said.contains("/x/bios is damaged") && said.contains("remove the directory /x,"), "{said}");
    }
}
