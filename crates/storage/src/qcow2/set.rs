//! The name of the image behind one, said anew.

use super::header::{self, Backing, Header};
use crate::create::{Parent, backing};
use crate::{ImageError, Store};

pub fn set_parent(store: &dyn Store, parent: &Parent) -> Result<(), ImageError> {
    let header = Header::read(store)?;
    let Backing { name, format } = backing(parent);
    let bytes = header::with_backing(store, &header, &name, format.as_deref().unwrap_or("raw"))?;
    if bytes.len() as u64 > header.cluster() {
        return Err(ImageError::wrong("the name of the image behind it is too long"));
    }
    store.write_at(0, &bytes)?;
    Ok(store.flush()?)
}
