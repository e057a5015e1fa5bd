//! A packet socket (packet(7)): frames from and to a network interface of this machine, past its own protocols.

// UNSAFETY: the library of system calls that is used elsewhere has no packet sockets.
#![allow(unsafe_code)]

use crate::frame::{TAG, TAG_AT, TAG_SIZE};
use crate::offload::{self, Header};
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// All protocols (linux/if_ether.h), in the order of the wire.
const ALL: u16 = 3u16.to_be();
/// linux/if_packet.h
const ADD_MEMBERSHIP: i32 = 1;
const AUXDATA: i32 = 8;
const VNET_HDR: i32 = 15;
const IGNORE_OUTGOING: i32 = 23;
const PROMISCUOUS: u16 = 1;
const VLAN_VALID: u32 = 0x10;
/// A packet that is several frames has at most this length.
pub const LONGEST: usize = (64 << 10) + 64;
/// What comes while nobody takes it.
const ROOM: i32 = 4 << 20;

/// `struct tpacket_auxdata`
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Auxiliary {
    status: u32,
    len: u32,
    snaplen: u32,
    mac: u16,
    net: u16,
    vlan_tci: u16,
    vlan_tpid: u16,
}

/// `struct packet_mreq`
#[repr(C)]
struct Membership {
    index: i32,
    kind: u16,
    length: u16,
    address: [u8; 8],
}

#[derive(Debug)]
pub struct PacketSocket {
    socket: OwnedFd,
}

fn done(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

impl PacketSocket {
    /// Hears all that comes to the interface of this number, whoever it is for; takes the capability CAP_NET_RAW.
    pub fn open(index: u32) -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        // SAFETY: no memory is handed over. Protocol 0: nothing comes before it is bound.
        let descriptor = done(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })?;
        // SAFETY: the descriptor is new, and nobody else's.
        let own = Self { socket: unsafe { OwnedFd::from_raw_fd(descriptor) } };
        own.set(libc::SOL_PACKET, VNET_HDR, &1i32)?;
        own.set(libc::SOL_PACKET, AUXDATA, &1i32)?;
        // Before Linux 4.20 what this machine sends is heard, too; it is passed over by its source.
        let _ = own.set(libc::SOL_PACKET, IGNORE_OUTGOING, &1i32);
        let _ = own.set(libc::SOL_SOCKET, libc::SO_RCVBUF, &ROOM);
        // SAFETY: all zeros are a value of this structure of numbers.
        let mut address: libc::sockaddr_ll = unsafe { zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = ALL;
        address.sll_ifindex = index as i32;
        let length = size_of::<libc::sockaddr_ll>() as u32;
        // SAFETY: a valid address of that length that outlives the call.
        done(unsafe { libc::bind(own.raw(), (&raw const address).cast(), length) })?;
        let all = Membership { index: index as i32, kind: PROMISCUOUS, length: 0, address: [0; 8] };
        own.set(libc::SOL_PACKET, ADD_MEMBERSHIP, &all)?;
        Ok(own)
    }

    fn raw(&self) -> i32 {
        self.socket.as_raw_fd()
    }

    fn set<T>(&self, level: i32, option: i32, value: &T) -> io::Result<()> {
        let length = size_of::<T>() as u32;
        // SAFETY: a value of that length that outlives the call, of the type that each option above has.
        done(unsafe { libc::setsockopt(self.raw(), level, option, (&raw const *value).cast(), length) })
            .map(drop)
    }

    pub fn wait_at_most(&self, patience: Duration) -> io::Result<()> {
        let time =
            libc::timeval { tv_sec: patience.as_secs() as i64, tv_usec: i64::from(patience.subsec_micros()) };
        self.set(libc::SOL_SOCKET, libc::SO_RCVTIMEO, &time)
    }

    /// Waits for the next packet, and gives the frames that it is; false if it is none that frames can be made of.
    pub fn receive(&self, bytes: &mut [u8; LONGEST], give: impl FnMut(&[u8])) -> io::Result<bool> {
        let mut head = [0u8; offload::SIZE];
        let mut words = [0u64; 8];
        let mut parts = [
            libc::iovec { iov_base: head.as_mut_ptr().cast(), iov_len: head.len() },
            // In front of what comes is room for a tag that the kernel has taken out.
            libc::iovec { iov_base: bytes[TAG_SIZE..].as_mut_ptr().cast(), iov_len: LONGEST - TAG_SIZE },
        ];
        // SAFETY: all zeros are a value of this structure of numbers and pointers.
        let mut message: libc::msghdr = unsafe { zeroed() };
        message.msg_iov = parts.as_mut_ptr();
        message.msg_iovlen = parts.len();
        message.msg_control = words.as_mut_ptr().cast();
        message.msg_controllen = size_of::<[u64; 8]>();
        // SAFETY: the message's parts are valid for writes of their lengths, and outlive the call.
        let count = unsafe { libc::recvmsg(self.raw(), &mut message, 0) };
        let Ok(count) = usize::try_from(count) else { return Err(io::Error::last_os_error()) };
        let len = count.saturating_sub(offload::SIZE);
        let cut = message.msg_flags & libc::MSG_TRUNC != 0;
        if cut || len < TAG_AT + 2 {
            return Ok(false);
        }
        let mut header = Header::read(head);
        let whole = match tag(&message) {
            Some(tag) => {
                bytes.copy_within(TAG_SIZE..TAG_SIZE + TAG_AT, 0);
                bytes[TAG_AT..TAG_AT + 2].copy_from_slice(&TAG.to_be_bytes());
                bytes[TAG_AT + 2..TAG_AT + 4].copy_from_slice(&tag.to_be_bytes());
                // It is further back now.
                header.checksum_start = header.checksum_start.saturating_add(TAG_SIZE as u16);
                &mut bytes[..TAG_SIZE + len]
            }
            None => &mut bytes[TAG_SIZE..TAG_SIZE + len],
        };
        Ok(offload::frames(&header, whole, give))
    }

    /// As it is: nothing is left to do for a network card.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        let head = [0u8; offload::SIZE];
        let parts = [
            libc::iovec { iov_base: head.as_ptr().cast_mut().cast(), iov_len: head.len() },
            libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() },
        ];
        // SAFETY: the parts are valid for reads of their lengths and outlive the call, which writes to none of them.
        let count = unsafe { libc::writev(self.raw(), parts.as_ptr(), parts.len() as i32) };
        if count < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// The tag that was in the frame.
fn tag(message: &libc::msghdr) -> Option<u16> {
    // SAFETY: the kernel has filled in the control data and its length, and it is not changed meanwhile.
    let mut control = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !control.is_null() {
        // SAFETY: it is not null, so it points to a whole header inside of the control data, which is aligned to 8 bytes.
        let header = unsafe { &*control };
        if header.cmsg_level == libc::SOL_PACKET
            && header.cmsg_type == AUXDATA
            && header.cmsg_len >= size_of::<libc::cmsghdr>() + size_of::<Auxiliary>()
        {
            // SAFETY: the header says that so many bytes are behind it.
            let auxiliary = unsafe { libc::CMSG_DATA(control).cast::<Auxiliary>().read_unaligned() };
            return (auxiliary.status & VLAN_VALID != 0).then_some(auxiliary.vlan_tci);
        }
        // SAFETY: as above.
        control = unsafe { libc::CMSG_NXTHDR(message, control) };
    }
    None
}
