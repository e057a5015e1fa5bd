//! Mount-VHD and Dismount-VHD: the disk in an image as a file of the host.

use super::super::disk::absolute;
use super::super::image::{self, refused};
use super::{each, give};
use crate::mount::{self, Mount};
use crate::operation::{Call, Failure};
use crate::store::Layer;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub fn mount(call: &mut Call<'_>) -> Result<(), Failure> {
    let at = call.arguments.text("MountPoint").map(absolute).transpose()?;
    if at.is_some() && call.arguments.items("Path").len() > 1 {
        return Err(Failure::invalid("One file cannot be several disks; give one -Path with -MountPoint."));
    }
    each(call, |call, path| {
        let found = image::find(call.arguments, &path, image::format(call.arguments, "Format")?)?;
        if let Some((_, mounted)) = mount::of(&call.host.store, &path) {
            return Err(refused(
                &path,
                format_args!("it is mounted already, as '{}'", mounted.point.display()),
            ));
        }
        if !call.should("mount the virtual hard disk", &path.to_string_lossy()) {
            return Ok(());
        }
        let own = Layer { path: found.path.clone(), format: found.facts.format };
        let layers = [own].into_iter().chain(found.behind.into_iter().map(Into::into)).collect();
        let (point, made) = point(at.clone(), &path)?;
        let mount = Mount { layers, read_only: call.arguments.switch("ReadOnly"), point, made };
        let kept = mount.keep(&call.host.store).map_err(|error| refused(&path, error));
        let started = kept.and_then(|id| {
            let started = call.host.launcher.mount(&call.host.store, id);
            started.inspect_err(|_| mount::forget(&call.host.store, id)).map_err(Failure::failed)
        });
        if let Err(failure) = started {
            if made {
                let _ = std::fs::remove_file(&mount.point);
            }
            return Err(failure.about(path.display().to_string()));
        }
        give(call, &path, Some(found.facts.format))
    });
    Ok(())
}

/// The file that is to be the disk, and whether it was made. What is in one that is there is hidden meanwhile.
fn point(given: Option<PathBuf>, image: &Path) -> Result<(PathBuf, bool), Failure> {
    let point = given.unwrap_or_else(|| {
        let mut name = image.as_os_str().to_owned();
        name.push(".disk");
        name.into()
    });
    match File::options().write(true).create_new(true).open(&point) {
        Ok(_) => Ok((point, true)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && point.is_file() => Ok((point, false)),
        Err(error) => Err(refused(
            image,
            format_args!(
                "'{}' cannot be made, which is to be its disk: {error}; give another file, -MountPoint",
                point.display()
            ),
        )),
    }
}

/// For what is open to be written, and the process to end.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn dismount(call: &mut Call<'_>) -> Result<(), Failure> {
    each(call, |call, path| {
        let Some((id, mounted)) = mount::of(&call.host.store, &path) else {
            return Err(refused(&path, "it is not mounted"));
        };
        if !call.should("dismount the virtual hard disk", &path.to_string_lossy()) {
            return Ok(());
        }
        let point = mounted.point.display();
        mount::unmount(&mounted.point)
            .map_err(|why| refused(&path, format_args!("its disk '{point}' cannot be taken off: {why}")))?;
        let until = Instant::now() + PATIENCE;
        while mount::all(&call.host.store).iter().any(|(other, _)| *other == id) {
            if Instant::now() > until {
                return Err(refused(
                    &path,
                    "what was written to it is still on its way to the host's storage",
                ));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        give(call, &path, mounted.layers.first().map(|layer| layer.format))
    });
    Ok(())
}
