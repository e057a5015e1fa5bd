//! Set-VHD: what an image says of itself, said anew.

use super::super::disk::absolute;
use super::super::image::{self, refused};
use super::work::{broken, links, take};
use super::{each, give, parent_of};
use crate::operation::{Call, Failure};
use ireko_machine::Layer;
use ireko_storage::set;

pub fn set(call: &mut Call<'_>) -> Result<(), Failure> {
    let parent = call.arguments.text("ParentPath").map(str::to_owned);
    let sector = call.arguments.text("PhysicalSectorSizeBytes").and_then(|text| text.parse::<u32>().ok());
    let reset = call.arguments.switch("ResetDiskIdentifier");
    if parent.is_none() && sector.is_none() && !reset {
        return Err(Failure::invalid(
            "Nothing is to be changed; give -ParentPath, -PhysicalSectorSizeBytes or -ResetDiskIdentifier.",
        ));
    }
    each(call, |call, path| {
        let opened = image::open(&path, image::format(call.arguments, "Format")?)?;
        let format = opened.link.format;
        if let Some(parent) = &parent
            && absolute(parent)? == path
        {
            return Err(refused(&path, "it would be behind itself; give another image"));
        }
        let parent = parent.as_deref().map(|parent| parent_of(&path, parent)).transpose()?;
        if !call.should("change the virtual hard disk", &path.to_string_lossy()) {
            return Ok(());
        }
        let layers = [Layer { path: path.clone(), format }];
        let files = take(call, &layers, false)?;
        let link = &links(&files, &layers)?[0];
        let any = call.arguments.switch("IgnoreIdMismatch");
        let changed = parent
            .map_or(Ok(()), |parent| set::parent(link, &parent, any))
            .and_then(|()| sector.map_or(Ok(()), |bytes| set::physical_sector(link, bytes)))
            .and_then(|()| if reset { set::identifier(link) } else { Ok(()) });
        changed.map_err(|error| broken(&path, error))?;
        give(call, &path, Some(format))
    });
    Ok(())
}
