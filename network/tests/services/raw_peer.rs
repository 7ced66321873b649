//! A peer that speaks the transport properly and may put anything on a stream.

use std::io;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, StreamExt};
use libp2p::core::upgrade::Version;
use libp2p::request_response::{
    Behaviour, Codec, Config, Event, Message, OutboundFailure, ProtocolSupport,
};
use libp2p::swarm::SwarmEvent;
use libp2p::{
    Multiaddr, PeerId, StreamProtocol, Swarm, Transport, identity::Keypair, noise, tcp, tls, yamux,
};
use proto::ProtocolSpec;

use crate::support::soon;

/// What is written in place of a frame.
#[derive(Debug, Clone)]
pub(crate) enum Bytes {
    /// These bytes, then the end of the stream.
    Ended(Vec<u8>),
    /// These bytes, and then nothing: the stream stays open.
    Stalled(Vec<u8>),
}

impl Bytes {
    /// A message behind its right length.
    pub(crate) fn framed(message: &[u8]) -> Self {
        let mut prefix = unsigned_varint::encode::usize_buffer();
        let prefix = unsigned_varint::encode::usize(message.len(), &mut prefix);
        Self::Ended([prefix, message].concat())
    }
}

#[derive(Debug, Clone, Default)]
pub(crate) struct RawCodec;

async fn write(io: &mut (impl AsyncWrite + Unpin), bytes: Bytes) -> io::Result<()> {
    let (Bytes::Ended(written) | Bytes::Stalled(written)) = &bytes;
    io.write_all(written).await?;
    io.flush().await?;
    if matches!(bytes, Bytes::Stalled(_)) {
        std::future::pending::<()>().await;
    }
    Ok(())
}

/// All that the other side writes; a stream that it resets counts as ended.
async fn read(io: &mut (impl AsyncRead + Unpin)) -> Bytes {
    let mut bytes = Vec::new();
    let _ = io.read_to_end(&mut bytes).await;
    Bytes::Ended(bytes)
}

impl Codec for RawCodec {
    type Protocol = StreamProtocol;
    type Request = Bytes;
    type Response = Bytes;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Bytes>
    where
        T: AsyncRead + Unpin + Send,
    {
        Ok(read(io).await)
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Bytes>
    where
        T: AsyncRead + Unpin + Send,
    {
        Ok(read(io).await)
    }

    async fn write_request<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        it: Bytes,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write(io, it).await
    }

    async fn write_response<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        it: Bytes,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write(io, it).await
    }
}

pub(crate) struct RawPeer {
    swarm: Swarm<Behaviour<RawCodec>>,
    service: PeerId,
}

/// What libp2p itself brings along to secure a connection; a raw peer knows one of them.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Security {
    Noise,
    Tls,
}

impl RawPeer {
    /// Speaks `protocol` in both directions.
    fn new(security: Security, service: PeerId, protocol: ProtocolSpec) -> Self {
        let keypair = Keypair::generate_ed25519();
        let tcp = tcp::tokio::Transport::new(tcp::Config::new()).upgrade(Version::V1);
        let yamux = yamux::Config::default();
        let transport = match security {
            Security::Noise => tcp
                .authenticate(noise::Config::new(&keypair).unwrap())
                .multiplex(yamux)
                .boxed(),
            Security::Tls => tcp
                .authenticate(tls::Config::new(&keypair).unwrap())
                .multiplex(yamux)
                .boxed(),
        };
        let protocols = [(StreamProtocol::new(protocol.name), ProtocolSupport::Full)];
        let limits = Config::default().with_max_concurrent_streams(1000);
        let config = libp2p::swarm::Config::with_tokio_executor()
            .with_idle_connection_timeout(std::time::Duration::from_secs(3600));
        let swarm = Swarm::new(
            transport,
            Behaviour::new(protocols, limits),
            keypair.public().to_peer_id(),
            config,
        );
        Self { swarm, service }
    }

    /// Dials a service.
    pub(crate) async fn dial(service: PeerId, addr: Multiaddr, protocol: ProtocolSpec) -> Self {
        Self::dial_with(Security::Noise, service, addr, protocol).await
    }

    pub(crate) async fn dial_with(
        security: Security,
        service: PeerId,
        addr: Multiaddr,
        protocol: ProtocolSpec,
    ) -> Self {
        let mut peer = Self::new(security, service, protocol);
        peer.swarm
            .dial(addr.with(libp2p::multiaddr::Protocol::P2p(service)))
            .unwrap();
        let connected = async {
            while !peer.swarm.is_connected(&service) {
                peer.swarm.select_next_some().await;
            }
        };
        soon(connected).await;
        peer
    }

    /// Waits to be dialled by a service, at the address returned.
    pub(crate) async fn listen_with(
        security: Security,
        service: PeerId,
        protocol: ProtocolSpec,
    ) -> (Self, Multiaddr) {
        let mut peer = Self::new(security, service, protocol);
        peer.swarm
            .listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap())
            .unwrap();
        let listening = async {
            loop {
                if let SwarmEvent::NewListenAddr { address, .. } =
                    peer.swarm.select_next_some().await
                {
                    return address;
                }
            }
        };
        let addr = soon(listening).await;
        (peer, addr)
    }

    pub(crate) fn id(&self) -> PeerId {
        *self.swarm.local_peer_id()
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.swarm.is_connected(&self.service)
    }

    /// Opens a stream and writes these bytes, without waiting for what comes of it.
    pub(crate) fn write(&mut self, bytes: Bytes) {
        let service = self.service;
        self.swarm.behaviour_mut().send_request(&service, bytes);
    }

    /// What the service has to say to the last request, or why nothing comes.
    pub(crate) async fn outcome(&mut self) -> Result<Vec<u8>, OutboundFailure> {
        let outcome = async {
            loop {
                match self.swarm.select_next_some().await {
                    SwarmEvent::Behaviour(Event::Message {
                        message: Message::Response { response, .. },
                        ..
                    }) => {
                        let (Bytes::Ended(bytes) | Bytes::Stalled(bytes)) = response;
                        return Ok(bytes);
                    }
                    SwarmEvent::Behaviour(Event::OutboundFailure { error, .. }) => {
                        return Err(error);
                    }
                    _ => {}
                }
            }
        };
        soon(outcome).await
    }

    /// Keeps the connection going, and answers every request with the next of these; further ones
    /// are left open.
    pub(crate) fn answer_with(mut self, answers: Vec<Bytes>) {
        let mut answers = answers.into_iter();
        tokio::spawn(async move {
            loop {
                if let SwarmEvent::Behaviour(Event::Message {
                    message: Message::Request { channel, .. },
                    ..
                }) = self.swarm.select_next_some().await
                {
                    let answer = answers.next().unwrap_or(Bytes::Stalled(Vec::new()));
                    let _ = self.swarm.behaviour_mut().send_response(channel, answer);
                }
            }
        });
    }

    /// Keeps the connection, and the streams that are open, going.
    pub(crate) fn stay(self) {
        self.answer_with(Vec::new());
    }
}
