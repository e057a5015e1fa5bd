//! Drives of a running machine that change: media, and disks that come and go.

use super::descriptors::Incoming;
use super::protocol::{Reply, Request};
use super::server::Control;
use crate::state::State;
use crate::store::Disk;
use crate::store::config::{DriveAddress, DriveFiles, Dvd};
use ireko_machine::DiskFiles;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

/// For the guest to let go of a disk. Who asks waits a little longer.
const PATIENCE: Duration = Duration::from_secs(7);

const NO_FILE: &str = "The file did not come with the request.";

/// What came, as what it was said to be.
fn come(drive: &DriveFiles, incoming: &mut Incoming) -> Result<Arc<DiskFiles>, String> {
    let files = incoming.files(drive.layers.len()).ok_or(NO_FILE)?;
    let formats = drive.layers.iter().map(|layer| layer.format);
    let links = files.into_iter().map(Arc::new).zip(formats).collect();
    Ok(Arc::new(DiskFiles::new(links, drive.read_only)))
}

impl Control {
    pub(super) fn driving(&self) -> MutexGuard<'_, ()> {
        self.driving.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// A request with files.
    pub(super) fn take_over(&self, request: &Request, incoming: &mut Incoming) -> Reply {
        let done = match request {
            Request::Medium { dvd } => {
                let files = dvd.path.as_deref().map(|path| come(&DriveFiles::medium(path), incoming));
                files.transpose().and_then(|files| self.change_medium(dvd, files))
            }
            Request::AddDisk { disk } => {
                come(&DriveFiles::from(disk), incoming).and_then(|files| self.add_disk(disk, files))
            }
            _ => Ok(()),
        };
        incoming.forget();
        done.map_or_else(Reply::Error, |()| Reply::Done)
    }

    fn change_medium(&self, dvd: &Dvd, file: Option<Arc<DiskFiles>>) -> Result<(), String> {
        let _alone = self.driving();
        let remote = {
            let inner = self.lock();
            if inner.dvds.iter().all(|own| own.place != dvd.place) {
                return Err(
                    "The machine that runs has no DVD drive there; turn it off and start it again.".into()
                );
            }
            inner.remote.clone()
        };
        if let (Some(path), Some(file)) = (&dvd.path, &file) {
            self.files.hear_of(path, file);
        }
        remote.change_medium(dvd, file.clone())?;
        self.files.put(dvd.place, file);
        self.lock().dvds.iter_mut().filter(|own| own.place == dvd.place).for_each(|own| own.clone_from(dvd));
        Ok(())
    }

    fn add_disk(&self, disk: &Disk, file: Arc<DiskFiles>) -> Result<(), String> {
        let _alone = self.driving();
        let (remote, taken) = {
            let inner = self.lock();
            (inner.remote.clone(), inner.disks.iter().any(|own| own.place == disk.place))
        };
        if taken {
            return Err("The machine that runs has a disk there already.".into());
        }
        self.files.hear_of(&disk.path, &file);
        remote.add_disk(disk, file.clone())?;
        self.files.put(disk.place, Some(file));
        let mut inner = self.lock();
        inner.disks.push(disk.clone());
        inner.disks.sort_by_key(|disk| disk.place);
        Ok(())
    }

    pub(super) fn remove_disk(&self, place: DriveAddress) -> Result<(), String> {
        let _alone = self.driving();
        let remote = {
            let inner = self.lock();
            if matches!(inner.state(), State::Paused | State::PausedCritical) {
                return Err(
                    "Its system, which has to let go of the disk, is held; use Resume-VM first.".into()
                );
            }
            inner.remote.clone()
        };
        if !remote.remove_disk(place, PATIENCE)? {
            return Err(format!(
                "Its system did not let go of the disk within {} seconds, and keeps it; unmount it there and try again, or turn the virtual machine off.",
                PATIENCE.as_secs()
            ));
        }
        self.lock().disks.retain(|disk| disk.place != place);
        self.files.put(place, None);
        Ok(())
    }
}
