//! VLANs (IEEE 802.1Q): on the switch a frame has its VLAN's tag; what a port's own side sees is its mode.

use crate::frame::{Frame, TAG, TAG_AT, TAG_SIZE};
use ireko_vmcore::port::LONGEST_FRAME;
use std::fmt;
use std::sync::Arc;

/// The largest id: 4095 is reserved (IEEE 802.1Q, 9.6).
pub const MOST: u16 = 4094;

/// What a port does with tags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Vlan {
    /// In none: frames have no tags.
    #[default]
    Untagged,
    /// In one, of whose tag it knows nothing.
    Access(u16),
    /// In several, with tags; what has none is in `native` (0: in none).
    Trunk { native: u16, allowed: Ids },
}

/// A set of ids, as ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ids(Arc<[(u16, u16)]>);

impl Ids {
    /// As in `1-100,200`. The error is what is no id, or no range.
    pub fn parse(text: &str) -> Result<Self, String> {
        let id = |word: &str| word.trim().parse::<u16>().ok().filter(|id| (1..=MOST).contains(id));
        let range = |word: &str| {
            let (first, last) = word.split_once('-').unwrap_or((word, word));
            match (id(first), id(last)) {
                (Some(first), Some(last)) if first <= last => Ok((first, last)),
                _ => Err(word.trim().to_owned()),
            }
        };
        text.split(',').map(range).collect::<Result<Vec<_>, _>>().map(|ranges| Self(ranges.into()))
    }
    pub fn contains(&self, id: u16) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&id))
    }
}

impl fmt::Display for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |(first, last): &(u16, u16)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        };
        f.write_str(&self.0.iter().map(word).collect::<Vec<_>>().join(","))
    }
}

/// What becomes of a frame's tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    Keep,
    Strip,
    /// This one instead of any other.
    Put(u16),
}

impl Vlan {
    /// On the way into the switch. `None`: the port is not in that VLAN.
    pub fn entering(&self, tag: Option<u16>) -> Option<Edit> {
        match (self, tag) {
            (Self::Untagged | Self::Trunk { native: 0, .. }, None) => Some(Edit::Keep),
            (Self::Untagged | Self::Trunk { native: 0, .. }, Some(0)) => Some(Edit::Strip),
            (Self::Access(own) | Self::Trunk { native: own, .. }, None | Some(0)) => Some(Edit::Put(*own)),
            (Self::Trunk { native, allowed }, Some(id)) => {
                (id == *native || allowed.contains(id)).then_some(Edit::Keep)
            }
            _ => None,
        }
    }

    /// On the way out of it.
    pub fn leaving(&self, tag: Option<u16>) -> Option<Edit> {
        match (self, tag) {
            (Self::Untagged | Self::Trunk { native: 0, .. }, None) => Some(Edit::Keep),
            (Self::Access(own) | Self::Trunk { native: own, .. }, Some(id)) if id == *own => {
                Some(Edit::Strip)
            }
            (Self::Trunk { allowed, .. }, Some(id)) if allowed.contains(id) => Some(Edit::Keep),
            _ => None,
        }
    }
}

/// A frame with a tag put in or taken out. `None`: it is too long with it.
pub fn edited<'a>(frame: Frame<'a>, edit: Edit, room: &'a mut [u8; LONGEST_FRAME]) -> Option<Frame<'a>> {
    let bytes = frame.bytes();
    let bare = TAG_AT + if frame.tag().is_some() { TAG_SIZE } else { 0 };
    let tag = match edit {
        Edit::Keep => return Some(frame),
        Edit::Strip => &[][..],
        Edit::Put(id) => &[TAG.to_be_bytes(), id.to_be_bytes()].concat(),
    };
    let parts = [&bytes[..TAG_AT], tag, bytes.get(bare..)?];
    let mut len = 0;
    for part in parts {
        room.get_mut(len..len + part.len())?.copy_from_slice(part);
        len += part.len();
    }
    Frame::new(&room[..len])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trunk(native: u16) -> Vlan {
        Vlan::Trunk { native, allowed: Ids::parse("10-12,20").unwrap() }
    }

    #[test]
    fn lists_read_as_they_are_written_and_wrong_ones_are_named() {
        assert_eq!(Ids::parse("1-100, 200").unwrap().to_string(), "1-100,200");
        for (text, wrong) in [("0", "0"), ("4095", "4095"), ("5-3", "5-3"), ("1,x", "x"), ("", "")] {
            assert_eq!(Ids::parse(text), Err(wrong.to_owned()));
        }
    }

    #[test]
    fn an_access_port_is_in_its_vlan_alone() {
        let port = Vlan::Access(10);
        assert_eq!(port.entering(None), Some(Edit::Put(10)));
        assert_eq!((port.entering(Some(0)), port.entering(Some(10))), (Some(Edit::Put(10)), None));
        assert_eq!(port.leaving(Some(10)), Some(Edit::Strip));
        assert_eq!((port.leaving(Some(11)), port.leaving(None)), (None, None));
    }

    #[test]
    fn a_port_without_vlan_hears_none_and_speaks_in_none() {
        let port = Vlan::Untagged;
        assert_eq!((port.entering(None), port.leaving(None)), (Some(Edit::Keep), Some(Edit::Keep)));
        assert_eq!((port.entering(Some(7)), port.leaving(Some(7))), (None, None));
        assert_eq!(port.entering(Some(0)), Some(Edit::Strip));
    }

    #[test]
    fn a_trunk_has_its_vlans_with_tags_and_the_native_one_without() {
        assert_eq!(
            (trunk(20).entering(None), trunk(20).leaving(Some(20))),
            (Some(Edit::Put(20)), Some(Edit::Strip))
        );
        assert_eq!(
            (trunk(0).entering(Some(11)), trunk(0).leaving(Some(11))),
            (Some(Edit::Keep), Some(Edit::Keep))
        );
        assert_eq!((trunk(0).entering(Some(13)), trunk(0).leaving(Some(13))), (None, None));
        assert_eq!((trunk(0).leaving(None), trunk(20).leaving(None)), (Some(Edit::Keep), None));
    }

    #[test]
    fn a_tag_is_put_in_replaced_and_taken_out() {
        let plain: Vec<u8> = (0..60).collect();
        let (mut one, mut two, mut three) = ([0; LONGEST_FRAME], [0; LONGEST_FRAME], [0; LONGEST_FRAME]);
        let tagged = edited(Frame::new(&plain).unwrap(), Edit::Put(7), &mut one).unwrap();
        assert_eq!((tagged.tag(), tagged.bytes().len()), (Some(7), 64));
        let other = edited(tagged, Edit::Put(8), &mut two).unwrap();
        assert_eq!((other.tag(), other.bytes().len()), (Some(8), 64));
        assert_eq!(edited(other, Edit::Strip, &mut three).unwrap().bytes(), plain);
    }

    #[test]
    fn a_frame_that_a_tag_makes_too_long_is_lost() {
        let long = [0; LONGEST_FRAME];
        assert!(edited(Frame::new(&long).unwrap(), Edit::Put(7), &mut [0; LONGEST_FRAME]).is_none());
    }
}
