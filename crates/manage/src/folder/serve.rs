//! The process of one folder.

use super::link::Asked;
use super::session::Session;
use crate::worker::log;
use ireko_jail::{Layers, folder};
use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, umask};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

/// Serves a folder to whoever is at the other end of standard input, to his end. It must have one thread.
pub fn run(path: &Path, read_only: bool, layers: Layers) {
    let socket = match io::stdin().as_fd().try_clone_to_owned() {
        Ok(socket) => File::from(socket),
        Err(error) => return log(&format!("standard input is no socket: {error}")),
    };
    let mut asked = Asked::new(socket);
    let mut session = match begin(path, read_only, layers) {
        Ok(session) => session,
        Err(why) => return drop(asked.begin(Some(&why))),
    };
    if let Err(error) = asked.begin(None).and_then(|()| serve(&mut session, &mut asked)) {
        log(&format!("the folder '{}' is served no more: {error}", path.display()));
    }
}

fn begin(path: &Path, read_only: bool, layers: Layers) -> Result<Session, String> {
    // The guest's kernel has applied its own.
    umask(Mode::empty());
    let most = getrlimit(Resource::Nofile).maximum;
    let _ = setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most });
    let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let confined = folder::confine(path, read_only, layers).map_err(|error| error.to_string())?;
    for missing in confined.layers.0.iter().filter(|layer| !layer.in_force) {
        log(&format!("the folder '{}': {missing}", path.display()));
    }
    Session::new(confined.folder, confined.descriptors, most, read_only).map_err(|error| error.to_string())
}

fn serve(session: &mut Session, asked: &mut Asked) -> io::Result<()> {
    let mut request = Vec::new();
    while let Some(most) = asked.next(&mut request)? {
        asked.answer(&session.answer(&request, most))?;
    }
    Ok(())
}
