//! The process that serves a mount, until it is taken off.

use super::wire::{HEAD, INIT, MOST, Served};
use super::{Mount, directory, forget, kernel};
use crate::guid::Guid;
use crate::store::{Store, WorkerLock};
use crate::worker::protocol::Started;
use crate::worker::{disks, log};
use ireko_machine::DiskFiles;
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read, Write};

/// Serves a mount that was noted. `report` is called once: when the disk is there, or with the error why it is not.
pub fn run(store: &Store, id: Guid, report: impl FnOnce(Started)) {
    let directory = directory(store, id);
    let Ok(Some(_lock)) = WorkerLock::take(&directory) else {
        return report(Started::Error("another process serves this mount already".into()));
    };
    match begin(store, id) {
        Ok((mount, files, served, device)) => {
            report(Started::Running { pid: std::process::id(), engine: String::new() });
            if let Err(error) = serve(&served, device) {
                log(&format!("the kernel's requests cannot be read: {error}"));
                let _ = kernel::unmount(&mount.point);
            }
            if let Err(error) = served.image.rest() {
                log(&format!("not all of the disk '{}' could be written: {error}", mount.path().display()));
            }
            drop(served);
            let _ = files.release();
            if mount.made {
                let _ = std::fs::remove_file(&mount.point);
            }
        }
        Err(why) => report(Started::Error(why)),
    }
    forget(store, id);
}

fn begin(store: &Store, id: Guid) -> Result<(Mount, DiskFiles, Served, File), String> {
    let mount = Mount::read(store, id).map_err(|error| format!("the mount cannot be read: {error}"))?;
    let files = disks::take_alone(store, &mount.files())?;
    let image = files
        .image()
        .map_err(|why| format!("the disk '{}' cannot be used: {why}", mount.path().display()))?;
    let owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let device = kernel::mount(&mount.point, mount.read_only)
        .map_err(|why| format!("'{}' cannot be the disk: {why}", mount.point.display()))?;
    let mut device = device;
    let served = Served { image, owner };
    // The kernel says hello before anybody can use the file.
    let hello = next(&mut device, &mut vec![0; HEAD + MOST as usize], &served);
    match hello {
        Ok(INIT) => Ok((mount, files, served, device)),
        Ok(_) => Err("the kernel did not begin with a greeting".into()),
        Err(error) => Err(format!("the kernel does not say anything: {error}")),
    }
}

/// Until it is taken off.
fn serve(served: &Served, mut device: File) -> io::Result<()> {
    let mut buffer = vec![0; HEAD + MOST as usize];
    loop {
        match next(&mut device, &mut buffer, served) {
            Ok(_) => (),
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::NODEV) => return Ok(()),
                // A request that was taken back.
                Some(Errno::NOENT | Errno::INTR | Errno::AGAIN) => (),
                _ => return Err(error),
            },
        }
    }
}

/// Answers one request: what it was.
fn next(device: &mut File, buffer: &mut [u8], served: &Served) -> io::Result<u32> {
    let count = device.read(buffer)?;
    let request = &buffer[..count];
    let operation = request.get(4..8).and_then(|field| field.try_into().ok()).map_or(0, u32::from_ne_bytes);
    if let Some(answer) = served.answer(request) {
        device.write_all(&answer)?;
    }
    Ok(operation)
}
