//! Serial ports as Unix sockets: who connects has the other end of the wire, one at a time.

use super::console::Console;
use super::server::{Control, confine};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Who takes nothing for so long is let go.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which port, from 0.
pub type Number = usize;

/// Makes the socket; one that is there and at which nobody listens is of a worker that is gone. The error is a sentence.
pub fn listen(path: &Path) -> Result<UnixListener, String> {
    let told = |why: &dyn std::fmt::Display| format!("the socket '{}' cannot be made: {why}", path.display());
    match path.symlink_metadata() {
        Ok(meta) if !meta.file_type().is_socket() => {
            return Err(told(&"there is something else of that name; name another with Set-VMComPort"));
        }
        Ok(_) if UnixStream::connect(path).is_ok() => {
            return Err(told(&"somebody listens there already; name another with Set-VMComPort"));
        }
        Ok(_) => std::fs::remove_file(path).map_err(|error| told(&error))?,
        Err(_) => {}
    }
    let listener = UnixListener::bind(path).map_err(|error| told(&error))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(|error| told(&error))?;
    Ok(listener)
}

/// Serves one port until the process ends.
pub fn serve(control: &Control, listener: &UnixListener, port: Number, console: &Console) {
    confine(&control.jail);
    for stream in listener.incoming() {
        match stream {
            // A connection that breaks concerns nobody else.
            Ok(stream) => drop(talk(control, stream, port, console)),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

fn talk(control: &Control, stream: UnixStream, port: Number, console: &Console) -> io::Result<()> {
    let (mut reader, closer, mut writer) = (stream.try_clone()?, stream.try_clone()?, stream);
    writer.set_write_timeout(Some(PATIENCE))?;
    let gone = Arc::new(AtomicBool::new(false));
    std::thread::scope(|scope| {
        let left = gone.clone();
        std::thread::Builder::new().name("com input".into()).spawn_scoped(scope, move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                let remote = control.lock().remote.clone();
                match port {
                    0 => remote.input(&bytes[..count]),
                    _ => remote.second_input(&bytes[..count]),
                }
            }
            left.store(true, Ordering::SeqCst);
            console.wake();
        })?;
        let result = console.follow_from_now(&mut writer, &gone);
        let _ = closer.shutdown(std::net::Shutdown::Both);
        result
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn a_socket_that_nobody_listens_at_gives_way_and_others_do_not() {
        let scratch = Scratch::new();
        let path = scratch.path().join("com");
        drop(listen(&path).unwrap());
        let listener = listen(&path).unwrap();
        assert!(listen(&path).unwrap_err().contains("somebody listens there"));
        drop(listener);
        let file = scratch.path().join("file");
        std::fs::write(&file, "kept").unwrap();
        assert!(listen(&file).unwrap_err().contains("something else of that name"));
        assert_eq!(std::fs::read(&file).unwrap(), b"kept");
    }
}
