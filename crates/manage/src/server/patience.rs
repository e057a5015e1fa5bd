//! A stream with an end to its waiting: for the rest of a request's head, and for a client that takes nothing.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

/// From a head's first byte (of the first request: from the connection) to its last.
pub const HEAD_PATIENCE: Duration = Duration::from_secs(2);
/// For a client to take anything of what it asked for.
const TAKE_PATIENCE: Duration = Duration::from_secs(10);

/// What a connection is about, as the requests' side knows it.
#[derive(Default)]
pub struct Pace(AtomicU8);

const HEAD: u8 = 0;
const BUSY: u8 = 1;
const IDLE: u8 = 2;

impl Pace {
    /// A head is complete.
    pub fn busy(&self) {
        self.0.store(BUSY, Ordering::Relaxed);
    }
    /// The request has its answer; the next byte begins a head.
    pub fn idle(&self) {
        self.0.store(IDLE, Ordering::Relaxed);
    }
    fn is(&self, phase: u8) -> bool {
        self.0.load(Ordering::Relaxed) == phase
    }
}

pub struct Patient<S> {
    stream: S,
    pace: Arc<Pace>,
    head: Pin<Box<Sleep>>,
    stall: Option<Pin<Box<Sleep>>>,
    take: Duration,
}

impl<S> Patient<S> {
    /// The first head must be complete by `until`.
    pub fn new(stream: S, pace: Arc<Pace>, until: Instant) -> Self {
        Self { stream, pace, head: Box::pin(sleep_until(until)), stall: None, take: TAKE_PATIENCE }
    }

    /// As `polled`, but waiting ends.
    fn bounded<T>(&mut self, context: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stall = None;
            return polled;
        }
        let take = self.take;
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(take)));
        stall.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.pace.is(HEAD) && self.head.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let before = into.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, into);
        if self.pace.is(IDLE) && into.filled().len() > before {
            self.pace.0.store(HEAD, Ordering::Relaxed);
            self.head.as_mut().reset(Instant::now() + HEAD_PATIENCE);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.bounded(context, polled)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.bounded(context, polled)
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        self.bounded(context, polled)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_shutdown(context);
        self.bounded(context, polled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    /// A client that sends a byte whenever it is asked, and takes nothing.
    struct Stubborn;

    impl AsyncRead for Stubborn {
        fn poll_read(
            self: Pin<&mut Self>,
            context: &mut Context<'_>,
            into: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            into.put_slice(b"x");
            context.waker().wake_by_ref();
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Stubborn {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Pending
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    fn block_on<T>(task: impl Future<Output = T>) -> T {
        crate::server::runtime().unwrap().block_on(task)
    }

    fn patient(pace: &Arc<Pace>) -> Patient<Stubborn> {
        Patient { take: Duration::from_millis(20), ..Patient::new(Stubborn, pace.clone(), Instant::now()) }
    }

    async fn read(stream: &mut Patient<Stubborn>) -> io::Result<()> {
        let mut byte = [0; 1];
        poll_fn(|context| Pin::new(&mut *stream).poll_read(context, &mut ReadBuf::new(&mut byte))).await
    }

    #[test]
    fn a_head_ends_in_its_time_however_many_bytes_come() {
        let error = block_on(async {
            let mut stream = patient(&Arc::default());
            loop {
                match read(&mut stream).await {
                    Ok(()) => tokio::task::yield_now().await,
                    Err(error) => return error,
                }
            }
        });
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_body_is_no_head_and_the_next_head_has_time_of_its_own() {
        let pace = Arc::<Pace>::default();
        block_on(async {
            let mut stream = patient(&pace);
            pace.busy();
            read(&mut stream).await.unwrap();
            pace.idle();
            read(&mut stream).await.unwrap();
            assert!(pace.is(HEAD));
            read(&mut stream).await.unwrap();
        });
    }

    #[test]
    fn a_client_that_takes_nothing_is_let_go() {
        let written = block_on(async {
            let mut stream = patient(&Arc::default());
            poll_fn(|context| Pin::new(&mut stream).poll_write(context, b"answer")).await
        });
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
