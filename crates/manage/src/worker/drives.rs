//! Drives of a running machine that change: media, and disks that come and go.

use super::protocol::{Reply, Request};
use super::server::Control;
use crate::state::State;
use crate::store::Disk;
use crate::store::config::{Dvd, Place};
use std::fs::File;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

/// For the guest to let go of a disk. Who asks waits a little longer.
const PATIENCE: Duration = Duration::from_secs(7);

const NO_FILE: &str = "The file did not come with the request.";

impl Control {
    pub(super) fn driving(&self) -> MutexGuard<'_, ()> {
        self.driving.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// A request with a file.
    pub(super) fn take_over(&self, request: &Request, file: Option<File>) -> Reply {
        let done = match request {
            Request::Medium { dvd } => self.change_medium(dvd, file.map(Arc::new)),
            Request::AddDisk { disk } => {
                file.ok_or(NO_FILE.into()).and_then(|file| self.add_disk(disk, file))
            }
            _ => Ok(()),
        };
        done.map_or_else(Reply::Error, |()| Reply::Done)
    }

    fn change_medium(&self, dvd: &Dvd, file: Option<Arc<File>>) -> Result<(), String> {
        let _alone = self.driving();
        if dvd.path.is_some() && file.is_none() {
            return Err(NO_FILE.into());
        }
        let remote = {
            let inner = self.lock();
            if inner.dvds.iter().all(|own| own.place != dvd.place) {
                return Err(
                    "The machine that runs has no DVD drive there; turn it off and start it again.".into()
                );
            }
            inner.remote.clone()
        };
        remote.change_medium(dvd, file.clone())?;
        self.files.put(dvd.place, file);
        self.lock().dvds.iter_mut().filter(|own| own.place == dvd.place).for_each(|own| own.clone_from(dvd));
        Ok(())
    }

    fn add_disk(&self, disk: &Disk, file: File) -> Result<(), String> {
        let _alone = self.driving();
        let (remote, taken) = {
            let inner = self.lock();
            (inner.remote.clone(), inner.disks.iter().any(|own| own.place == disk.place))
        };
        if taken {
            return Err("The machine that runs has a disk there already.".into());
        }
        let file = Arc::new(file);
        remote.add_disk(disk, file.clone())?;
        self.files.put(disk.place, Some(file));
        let mut inner = self.lock();
        inner.disks.push(disk.clone());
        inner.disks.sort_by_key(|disk| disk.place);
        Ok(())
    }

    pub(super) fn remove_disk(&self, place: Place) -> Result<(), String> {
        let _alone = self.driving();
        let remote = {
            let inner = self.lock();
            if inner.state() == State::Paused {
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
