//! The number of an image, and what it says of the one behind it, said anew.

use super::footer::{FOOTER, Footer, Header, Kind, Locator};
use crate::create::Parent;
use crate::guid::Guid;
use crate::{ImageError, SECTOR, Store};

/// The footer, and where it is: one that is missing is put back by `check`.
fn last(store: &dyn Store) -> Result<(Footer, u64), ImageError> {
    let footer = Footer::read(store)?;
    let last = store.size()?.saturating_sub(FOOTER);
    match Footer::at(store, last)? {
        Some(_) => Ok((footer, last)),
        None => {
            Err(ImageError::wrong("it was not closed; put that right first (`ireko disk check --repair`)"))
        }
    }
}

pub fn set_identifier(store: &dyn Store, id: Guid) -> Result<(), ImageError> {
    let (footer, last) = last(store)?;
    let new = footer.clone().with_id(id);
    store.write_at(last, new.bytes())?;
    store.flush()?;
    if footer.kind != Kind::Fixed {
        store.write_at(0, new.bytes())?;
    }
    Ok(store.flush()?)
}

/// Paths come behind all blocks, with a footer behind them, before the header leads there.
pub fn set_parent(store: &dyn Store, parent: &Parent, identity: Guid) -> Result<(), ImageError> {
    let (footer, last) = last(store)?;
    let header = Header::read(store, &footer)?;
    let paths = vec![super::create::windows(&parent.relative), parent.absolute.clone()];
    let header = Header { parent: Some(Locator { id: identity, paths }), ..header };
    let (bytes, paths) = header.encode(last);
    let end = paths.iter().map(|(at, path)| at + (path.len() as u64).next_multiple_of(SECTOR)).max();
    store.write_at(end.unwrap_or(last), footer.bytes())?;
    store.flush()?;
    for (at, mut path) in paths {
        path.resize(path.len().next_multiple_of(SECTOR as usize), 0);
        store.write_at(at, &path)?;
    }
    store.flush()?;
    store.write_at(footer.header, &bytes)?;
    Ok(store.flush()?)
}
