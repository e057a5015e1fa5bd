//! Viewers of the screen: RFB 3.3 to 3.8 (RFC 6143) on a Unix socket that is its owner's, or on loopback with a password. Whoever
//! connects is a stranger all the same: numbers, lengths and rates of everything that comes have bounds, and nobody waits for who does not read.

mod keysym;
mod message;
pub mod password;
mod pixels;
#[cfg(test)]
mod tests;

use super::screen::Shown;
use super::server::{Control, confine};
use ireko_machine::{FARTHEST, KeyEvent, Motion, Position};
use message::Message;
use pixels::Format;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// More at once are turned away.
const MOST_VIEWERS: usize = 8;
/// To say who one is, and to take what was sent: a viewer that needs longer is let go.
const GREETING: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at the screen, by all viewers together.
const FRAME: Duration = Duration::from_millis(50);
/// Messages of one viewer in a second; more have to wait.
const MOST_MESSAGES: u32 = 1000;

/// The last look at the screen, which all viewers share.
#[derive(Default)]
pub struct Looks(Mutex<Option<(Instant, Arc<Shown>)>>);

impl Looks {
    fn look(&self, control: &Control) -> Option<Arc<Shown>> {
        let mut last = self.0.lock().unwrap_or_else(|e| e.into_inner());
        if let Some((at, shown)) = &*last
            && at.elapsed() < FRAME
        {
            return Some(shown.clone());
        }
        let shown = Arc::new(control.shown().ok()?);
        *last = Some((Instant::now(), shown.clone()));
        Some(shown)
    }
}

/// A connection of either kind.
pub trait Stream: Read + Write + Send + Sized + 'static {
    fn try_clone(&self) -> io::Result<Self>;
    fn patience(&self, read: Option<Duration>, write: Option<Duration>) -> io::Result<()>;
    fn close(&self);
}

macro_rules! stream {
    ($kind:ty) => {
        impl Stream for $kind {
            fn try_clone(&self) -> io::Result<Self> {
                self.try_clone()
            }
            fn patience(&self, read: Option<Duration>, write: Option<Duration>) -> io::Result<()> {
                self.set_read_timeout(read)?;
                self.set_write_timeout(write)
            }
            fn close(&self) {
                let _ = self.shutdown(std::net::Shutdown::Both);
            }
        }
    };
}
stream!(UnixStream);
stream!(TcpStream);

/// Serves viewers at the Unix socket until the process ends.
pub fn serve(control: Arc<Control>, listener: &UnixListener) {
    serve_each(&control, listener.incoming(), None);
}

/// Serves viewers at a port until the process ends, if they know the password.
pub fn serve_with_password(control: Arc<Control>, listener: &TcpListener, password: &str) {
    serve_each(&control, listener.incoming(), Some(password.into()));
}

/// Each on threads of its own.
fn serve_each<S: Stream>(
    control: &Arc<Control>,
    incoming: impl Iterator<Item = io::Result<S>>,
    password: Option<Arc<str>>,
) {
    confine(&control.jail);
    let (open, looks) = (Arc::new(AtomicUsize::new(0)), Arc::new(Looks::default()));
    for stream in incoming {
        let Ok(stream) = stream else {
            std::thread::sleep(FRAME);
            continue;
        };
        if open.fetch_add(1, Ordering::SeqCst) >= MOST_VIEWERS {
            open.fetch_sub(1, Ordering::SeqCst);
            continue;
        }
        let (control, counter, looks) = (control.clone(), open.clone(), looks.clone());
        let password = password.clone();
        let spawned = std::thread::Builder::new().name("viewer".into()).spawn(move || {
            // A viewer that breaks off concerns nobody else.
            let _ = view(&control, &looks, stream, password.as_deref());
            counter.fetch_sub(1, Ordering::SeqCst);
        });
        if spawned.is_err() {
            open.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// What a viewer has asked for, between the thread that reads and the one that writes.
#[derive(Default)]
struct UpdateRequests {
    request: Mutex<UpdateRequest>,
    arrived: Condvar,
}

#[derive(Clone, Default)]
struct UpdateRequest {
    format: Format,
    resizes: bool,
    /// An update is awaited, and whether of everything.
    update: bool,
    whole: bool,
    gone: bool,
    /// Columns and lines, as the viewer knows them.
    size: (u32, u32),
}

impl UpdateRequests {
    fn lock(&self) -> MutexGuard<'_, UpdateRequest> {
        self.request.lock().unwrap_or_else(|e| e.into_inner())
    }
    fn change(&self, change: impl FnOnce(&mut UpdateRequest)) {
        change(&mut self.lock());
        self.arrived.notify_all();
    }
    /// The request with an update in it, which is taken; `None`: the viewer is gone.
    fn next(&self) -> Option<UpdateRequest> {
        let mut request = self.lock();
        while !request.update && !request.gone {
            request = self.arrived.wait(request).unwrap_or_else(|e| e.into_inner());
        }
        let taken = request.clone();
        (request.update, request.whole) = (false, false);
        (!taken.gone).then_some(taken)
    }
}

fn view<S: Stream>(control: &Control, looks: &Looks, stream: S, password: Option<&str>) -> io::Result<()> {
    stream.patience(Some(GREETING), Some(PATIENCE))?;
    let closer = stream.try_clone()?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = BufWriter::new(stream);
    let Some(first) = looks.look(control) else { return Ok(()) };
    greet(&mut reader, &mut writer, (first.width, first.height), password)?;
    closer.patience(None, Some(PATIENCE))?;
    let requests = UpdateRequests::default();
    requests.change(|request| request.size = (first.width, first.height));
    std::thread::scope(|scope| {
        let told = &requests;
        std::thread::Builder::new().name("input".into()).spawn_scoped(scope, move || {
            let _ = listen(control, reader, told);
            told.change(|request| request.gone = true);
        })?;
        let result = draw(control, looks, &mut writer, &requests, (first.width, first.height));
        closer.close();
        result
    })
}

/// Versions, security (none where the socket's mode says who may come) and the screen's size (RFC 6143, 7.1 to 7.3).
fn greet(
    reader: &mut impl Read,
    writer: &mut impl Write,
    size: (u32, u32),
    password: Option<&str>,
) -> io::Result<()> {
    const NONE: u8 = 1;
    let security = if password.is_some() { password::KIND } else { NONE };
    writer.write_all(b"RFB 003.008\n")?;
    writer.flush()?;
    let mut version = [0; 12];
    reader.read_exact(&mut version)?;
    let minor = match &version {
        b"RFB 003.003\n" => 3,
        b"RFB 003.007\n" => 7,
        b"RFB 003.008\n" => 8,
        _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "another protocol")),
    };
    let mut byte = [0];
    if minor == 3 {
        writer.write_all(&u32::from(security).to_be_bytes())?;
    } else {
        writer.write_all(&[1, security])?;
        writer.flush()?;
        reader.read_exact(&mut byte)?;
        if byte != [security] {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "security that was not offered"));
        }
    }
    match password {
        Some(password) => password::ask(reader, writer, password, minor == 8)?,
        None if minor == 8 => writer.write_all(&[0; 4])?,
        None => {}
    }
    writer.flush()?;
    // Whether others may look, too: they may.
    reader.read_exact(&mut byte)?;
    const NAME: &[u8] = b"Ireko";
    let (width, height) = (size.0 as u16, size.1 as u16);
    writer.write_all(&[width.to_be_bytes(), height.to_be_bytes()].concat())?;
    writer.write_all(&Format::default().bytes())?;
    writer.write_all(&(NAME.len() as u32).to_be_bytes())?;
    writer.write_all(NAME)?;
    writer.flush()
}

/// Takes what a viewer sends until it goes.
fn listen(control: &Control, mut reader: impl Read, requests: &UpdateRequests) -> io::Result<()> {
    let mut hands = Hands { control, down: Vec::new(), pointer: None };
    let (mut second, mut count) = (Instant::now(), 0);
    loop {
        let message = Message::read(&mut reader)?;
        if second.elapsed() > Duration::from_secs(1) {
            (second, count) = (Instant::now(), 0);
        }
        count += 1;
        if count > MOST_MESSAGES {
            std::thread::sleep(FRAME);
        }
        match message {
            Message::Format(format) => requests.change(|request| request.format = format),
            Message::Encodings { resizes } => requests.change(|request| request.resizes = resizes),
            Message::Update { incremental } => requests.change(|request| {
                request.update = true;
                request.whole |= !incremental;
            }),
            Message::Key { keysym, down } => hands.key(keysym, down),
            Message::Pointer { buttons, x, y } => {
                let size = requests.lock().size;
                hands.pointer(buttons, i32::from(x), i32::from(y), size);
            }
            Message::Nothing => {}
        }
    }
}

/// A viewer's hands on keyboard and mouse. What they hold is let go when it goes.
struct Hands<'a> {
    control: &'a Control,
    down: Vec<ireko_machine::Key>,
    pointer: Option<(i32, i32)>,
}

impl Hands<'_> {
    fn key(&mut self, keysym: u32, down: bool) {
        let Some(key) = keysym::key(keysym) else { return };
        self.down.retain(|held| *held != key);
        if down {
            self.down.push(key);
        }
        self.send(&[KeyEvent { key, down }]);
    }

    fn send(&self, events: &[KeyEvent]) {
        let remote = self.control.lock().remote.clone();
        // A system that takes no keys misses them.
        let _ = remote.keys(events);
    }

    fn pointer(&mut self, buttons: u8, x: i32, y: i32, size: (u32, u32)) {
        let (last_x, last_y) = self.pointer.replace((x, y)).unwrap_or((x, y));
        let wheel = i32::from(buttons >> 4 & 1) - i32::from(buttons >> 3 & 1);
        // Left, middle, right here; left, right, middle there.
        let buttons = buttons & 1 | buttons >> 1 & 2 | buttons << 1 & 4;
        let remote = self.control.lock().remote.clone();
        let motion = Motion { x: x - last_x, y: y - last_y, wheel, buttons };
        remote.pointer(motion, Position { x: along(x, size.0), y: along(y, size.1), wheel, buttons });
    }
}

/// A column or line among so many, as a tablet tells it.
fn along(at: i32, size: u32) -> u16 {
    let last = size.saturating_sub(1).max(1);
    let at = u32::try_from(at).unwrap_or(0).min(last);
    (u64::from(at) * u64::from(FARTHEST) / u64::from(last)) as u16
}

impl Drop for Hands<'_> {
    fn drop(&mut self) {
        let up: Vec<_> = self.down.iter().map(|&key| KeyEvent { key, down: false }).collect();
        self.send(&up);
    }
}

/// Sends what has changed, whenever it was asked for.
fn draw(
    control: &Control,
    looks: &Looks,
    writer: &mut impl Write,
    requests: &UpdateRequests,
    mut size: (u32, u32),
) -> io::Result<()> {
    let mut sent: Option<Arc<Shown>> = None;
    while let Some(request) = requests.next() {
        if request.whole {
            sent = None;
        }
        loop {
            let Some(shown) = looks.look(control) else { return Ok(()) };
            if (shown.width, shown.height) != size && request.resizes {
                size = (shown.width, shown.height);
                requests.lock().size = size;
                sent = None;
                pixels::write_size(writer, size)?;
                // The viewer asks again, for a picture of the new size.
                break;
            }
            let changed = pixels::changed(sent.as_deref(), &shown, size);
            if !changed.is_empty() {
                pixels::write(writer, &shown, &changed, request.format)?;
                sent = Some(shown);
                break;
            }
            // Looked at again and again, until something changes or the viewer goes.
            std::thread::sleep(FRAME);
            if requests.lock().gone {
                return Ok(());
            }
        }
        writer.flush()?;
    }
    Ok(())
}
