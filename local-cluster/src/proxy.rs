//! A TCP relay that makes a bad network of a good one: slow, thin, silent, or cut.
//!
//! A silent relay is what a partition looks like from a socket: nothing arrives, not even an end, and
//! what was sent meanwhile arrives when the silence is over, as retransmissions would. Rejected: the
//! kernel's netem, which needs rights and modules that many machines do not give.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// Bytes read at once, and pieces on their way: together what a slow link holds.
const PIECE: usize = 16 * 1024;
const PIECES: usize = 64;

/// How the link is. The default is perfect.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Conditions {
    /// In each direction.
    pub delay: Duration,
    /// In each direction of each connection; `None` is without limit.
    pub bytes_per_second: Option<u64>,
    /// Nothing passes, and nobody is told.
    pub silent: bool,
    /// Connections are reset, those that stand and those that come.
    pub cut: bool,
}

/// A relay in front of one address. Ends, with its connections, when it is dropped.
#[derive(Debug)]
pub struct TcpProxy {
    addr: SocketAddr,
    conditions: watch::Sender<Conditions>,
    counts: Arc<Counts>,
    _end: DropGuard,
}

#[derive(Debug, Default)]
struct Counts {
    accepted: AtomicU64,
    bytes: AtomicU64,
}

impl TcpProxy {
    /// Listens on a loopback port that the system chooses.
    pub async fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let addr = listener.local_addr()?;
        let (conditions, watched) = watch::channel(Conditions::default());
        let counts = Arc::<Counts>::default();
        let end = CancellationToken::new();
        let relay = Relay {
            target,
            conditions: watched,
            counts: Arc::clone(&counts),
        };
        tokio::spawn(
            end.clone()
                .run_until_cancelled_owned(relay.run(listener, end.clone())),
        );
        Ok(Self {
            addr,
            conditions,
            counts,
            _end: end.drop_guard(),
        })
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Holds for connections that stand and those to come.
    pub fn set(&self, conditions: Conditions) {
        self.conditions.send_replace(conditions);
    }

    /// A perfect link again. Connections that were cut stay lost.
    pub fn heal(&self) {
        self.set(Conditions::default());
    }

    /// Connections that were accepted since the start.
    pub fn accepted(&self) -> u64 {
        self.counts.accepted.load(Ordering::Relaxed)
    }

    /// Payload that has passed since the start, in both directions together.
    pub fn bytes(&self) -> u64 {
        self.counts.bytes.load(Ordering::Relaxed)
    }
}

#[derive(Clone)]
struct Relay {
    target: SocketAddr,
    conditions: watch::Receiver<Conditions>,
    counts: Arc<Counts>,
}

impl Relay {
    async fn run(self, listener: TcpListener, end: CancellationToken) {
        let tasks = TaskTracker::new();
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                sleep(Duration::from_millis(10)).await; // out of descriptors
                continue;
            };
            self.counts.accepted.fetch_add(1, Ordering::Relaxed);
            let relay = self.clone();
            let ended = end.clone();
            tasks.spawn(async move {
                let _ = ended.run_until_cancelled(relay.connect(stream)).await;
            });
        }
    }

    async fn connect(self, near: TcpStream) -> io::Result<()> {
        let mut conditions = self.conditions.clone();
        let silence_over = conditions.wait_for(|now| !now.silent || now.cut).await;
        if silence_over.map_or(true, |now| now.cut) {
            return reset(&near);
        }
        let far = TcpStream::connect(self.target).await?;
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        // Kept beyond the halves: whichever is closed last decides how the connection ends.
        let ends = [
            SockRef::from(&near).try_clone()?,
            SockRef::from(&far).try_clone()?,
        ];
        // `into_split` would say an orderly end when its halves are dropped.
        let (near_read, near_write) = tokio::io::split(near);
        let (far_read, far_write) = tokio::io::split(far);
        let there = self.pump(near_read, far_write);
        let back = self.pump(far_read, near_write);
        let cut = conditions.wait_for(|now| now.cut);
        let outcome = tokio::select! {
            (there, back) = async { tokio::join!(there, back) } => there.and(back),
            _ = cut => Err(io::ErrorKind::ConnectionReset.into()),
        };
        if outcome.is_err() {
            for end in &ends {
                let _ = end.set_linger(Some(Duration::ZERO));
            }
        }
        outcome
    }

    /// One direction, until its end has been passed on.
    async fn pump(
        &self,
        mut from: ReadHalf<TcpStream>,
        to: WriteHalf<TcpStream>,
    ) -> io::Result<()> {
        let (pieces, queue) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES);
        let conditions = self.conditions.clone();
        let read = async move {
            loop {
                let mut piece = vec![0; PIECE];
                let length = from.read(&mut piece).await?;
                if length == 0 {
                    return Ok(());
                }
                piece.truncate(length);
                let due = Instant::now() + conditions.borrow().delay;
                if pieces.send((due, piece)).await.is_err() {
                    return Ok(());
                }
            }
        };
        let write = self.write(queue, to);
        let (read, write) = tokio::join!(read, write);
        read.and(write)
    }

    async fn write(
        &self,
        mut queue: mpsc::Receiver<(Instant, Vec<u8>)>,
        mut to: WriteHalf<TcpStream>,
    ) -> io::Result<()> {
        let mut conditions = self.conditions.clone();
        while let Some((due, piece)) = queue.recv().await {
            sleep_until(due).await;
            let _ = conditions.wait_for(|now| !now.silent).await;
            to.write_all(&piece).await?;
            let length = piece.len() as u64;
            self.counts.bytes.fetch_add(length, Ordering::Relaxed);
            let limit = conditions.borrow().bytes_per_second;
            if let Some(limit) = limit {
                sleep(Duration::from_secs_f64(length as f64 / limit.max(1) as f64)).await;
            }
        }
        let _ = conditions.wait_for(|now| !now.silent).await;
        to.shutdown().await
    }
}

fn reset(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_linger(Some(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends back what it gets.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                    let _ = write.shutdown().await;
                });
            }
        });
        addr
    }

    async fn linked() -> (TcpProxy, TcpStream) {
        let proxy = TcpProxy::start(echo().await).await.unwrap();
        let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
        assert_eq!(round(&mut stream, b"hello").await.unwrap(), b"hello");
        (proxy, stream)
    }

    async fn round(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<Vec<u8>> {
        stream.write_all(bytes).await?;
        let mut answer = vec![0; bytes.len()];
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn a_perfect_link_passes_everything_and_the_end() {
        let (proxy, mut stream) = linked().await;
        let bytes: Vec<u8> = (0..1_000_000_u32).map(|n| n as u8).collect();
        let (mut read, mut write) = stream.split();
        let sent = async {
            write.write_all(&bytes).await.unwrap();
            write.shutdown().await.unwrap();
        };
        let mut answer = Vec::new();
        let (_, ()) = tokio::join!(read.read_to_end(&mut answer), sent);
        assert!(answer == bytes);
        assert_eq!(proxy.bytes(), 2 * (5 + 1_000_000));
        assert_eq!(proxy.accepted(), 1);
    }

    #[tokio::test]
    async fn a_slow_link_delays_both_directions() {
        let (proxy, mut stream) = linked().await;
        let delay = Duration::from_millis(50);
        proxy.set(Conditions {
            delay,
            ..Conditions::default()
        });
        let sent = Instant::now();
        round(&mut stream, b"x").await.unwrap();
        assert!(sent.elapsed() >= 2 * delay);
    }

    #[tokio::test]
    async fn a_thin_link_passes_no_more_than_its_rate() {
        let (proxy, mut stream) = linked().await;
        proxy.set(Conditions {
            bytes_per_second: Some(200_000),
            ..Conditions::default()
        });
        let sent = Instant::now();
        let bytes = vec![1; 40_000];
        assert_eq!(round(&mut stream, &bytes).await.unwrap(), bytes);
        assert!(sent.elapsed() >= Duration::from_millis(100));
    }

    #[tokio::test]
    async fn a_silent_link_tells_nothing_until_it_is_healed() {
        let (proxy, mut stream) = linked().await;
        proxy.set(Conditions {
            silent: true,
            ..Conditions::default()
        });
        stream.write_all(b"lost?").await.unwrap();
        let mut late = TcpStream::connect(proxy.addr()).await.unwrap();
        late.write_all(b"late").await.unwrap();
        let mut answer = [0; 5];
        let quiet = Duration::from_millis(200);
        let heard = tokio::time::timeout(quiet, stream.read_exact(&mut answer));
        assert!(heard.await.is_err());

        proxy.heal();
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"lost?");
        let mut answer = [0; 4];
        late.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"late");
    }

    #[tokio::test]
    async fn a_cut_link_resets_what_stands_and_what_comes_until_it_is_healed() {
        let (proxy, mut stream) = linked().await;
        proxy.set(Conditions {
            cut: true,
            ..Conditions::default()
        });
        let error = round(&mut stream, b"x").await.unwrap_err();
        assert!(
            matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
            ),
            "{error:?}"
        );
        let mut next = TcpStream::connect(proxy.addr()).await.unwrap();
        assert!(round(&mut next, b"x").await.is_err());
        proxy.heal();
        let mut next = TcpStream::connect(proxy.addr()).await.unwrap();
        assert_eq!(round(&mut next, b"x").await.unwrap(), b"x");
    }

    #[tokio::test]
    async fn a_dropped_proxy_takes_its_connections_with_it() {
        let (proxy, mut stream) = linked().await;
        let addr = proxy.addr();
        drop(proxy);
        assert!(round(&mut stream, b"x").await.is_err());
        while TcpStream::connect(addr).await.is_ok() {
            tokio::task::yield_now().await;
        }
    }
}
