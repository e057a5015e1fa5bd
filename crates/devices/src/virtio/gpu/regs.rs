//! The GPU device's features, commands and formats (virtio 1.2, 5.7).

pub const F_EDID: u64 = 1 << 1;

pub const CONTROL: usize = 0;

/// Header of commands and responses: type, flags, fence, context, ring (5.7.6.7).
pub const HEADER: usize = 24;
pub const FLAG_FENCE: u32 = 1 << 0;

pub const GET_DISPLAY_INFO: u32 = 0x100;
pub const RESOURCE_CREATE_2D: u32 = 0x101;
pub const RESOURCE_UNREF: u32 = 0x102;
pub const SET_SCANOUT: u32 = 0x103;
pub const RESOURCE_FLUSH: u32 = 0x104;
pub const TRANSFER_TO_HOST_2D: u32 = 0x105;
pub const RESOURCE_ATTACH_BACKING: u32 = 0x106;
pub const RESOURCE_DETACH_BACKING: u32 = 0x107;
pub const GET_EDID: u32 = 0x10a;
pub const UPDATE_CURSOR: u32 = 0x300;
pub const MOVE_CURSOR: u32 = 0x301;

pub const OK_NODATA: u32 = 0x1100;
pub const OK_DISPLAY_INFO: u32 = 0x1101;
pub const OK_EDID: u32 = 0x1104;
pub const ERR_UNSPEC: u32 = 0x1200;
pub const ERR_OUT_OF_MEMORY: u32 = 0x1201;
pub const ERR_INVALID_SCANOUT_ID: u32 = 0x1202;
pub const ERR_INVALID_RESOURCE_ID: u32 = 0x1203;
pub const ERR_INVALID_PARAMETER: u32 = 0x1205;

/// Places for scanouts in the display information, of which there is one (5.7.6.8).
pub const SCANOUTS: usize = 16;
/// Room for an EDID.
pub const EDID_ROOM: usize = 1024;

/// Bytes of a pixel, in every format.
pub const PIXEL: u32 = 4;
/// Formats, and which byte of a pixel is red, green and blue.
pub const FORMATS: [(u32, [usize; 3]); 8] = [
    (1, [2, 1, 0]),
    (2, [2, 1, 0]),
    (3, [1, 2, 3]),
    (4, [1, 2, 3]),
    (67, [0, 1, 2]),
    (68, [3, 2, 1]),
    (121, [3, 2, 1]),
    (134, [0, 1, 2]),
];

/// Columns and lines of a cursor.
pub const CURSOR: u32 = 64;
