//! A router's port of the switch.

use ireko_nat::{Port, Wire};
use ireko_net::frame::Frame;
use ireko_net::peers::Peer;
use ireko_net::switch::Socket;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

pub struct SwitchPort {
    pub socket: Arc<Socket>,
    /// Who had no room for a frame.
    full: Option<Arc<Peer>>,
}

impl SwitchPort {
    pub fn new(socket: Arc<Socket>) -> Self {
        Self { socket, full: None }
    }
}

impl Wire for SwitchPort {
    fn send(&mut self, frame: &[u8]) -> bool {
        let Some(frame) = Frame::new(frame) else { return true };
        match self.socket.try_send(frame) {
            Ok(()) => true,
            Err(peer) => {
                self.full = Some(peer);
                false
            }
        }
    }
}

impl Port for SwitchPort {
    /// What is no frame is passed over.
    fn receive(&mut self, room: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(len) = self.socket.try_receive(room)? {
                return Ok(len);
            }
        }
    }
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.descriptor()
    }
    fn full(&self) -> Option<BorrowedFd<'_>> {
        self.full.as_ref().map(|peer| peer.descriptor())
    }
}
