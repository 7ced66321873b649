//! The peer protocols: names, directions, limits.

/// Who opens the stream of a protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    Coordinator,
    Node,
}

/// Two lanes, so that a heartbeat never waits for a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Small messages; 10 s per exchange.
    Control,
    /// Blobs; 60 s per exchange.
    Data,
}

/// One request and one response each: unsigned-varint length, then a protobuf message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    Hello,
    Heartbeat,
    ReportLoss,
    StoreChunk,
    RetrieveChunk,
    DeleteChunk,
    ProofChallenge,
    Inventory,
}

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

impl Protocol {
    pub const ALL: [Self; 8] = [
        Self::Hello,
        Self::Heartbeat,
        Self::ReportLoss,
        Self::StoreChunk,
        Self::RetrieveChunk,
        Self::DeleteChunk,
        Self::ProofChallenge,
        Self::Inventory,
    ];

    /// The name that is negotiated on a stream.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hello => "/federated-storage/1.0.0/hello",
            Self::Heartbeat => "/federated-storage/1.0.0/heartbeat",
            Self::ReportLoss => "/federated-storage/1.0.0/report-loss",
            Self::StoreChunk => "/federated-storage/1.0.0/store-chunk",
            Self::RetrieveChunk => "/federated-storage/1.0.0/retrieve-chunk",
            Self::DeleteChunk => "/federated-storage/1.0.0/delete-chunk",
            Self::ProofChallenge => "/federated-storage/1.0.0/proof-challenge",
            Self::Inventory => "/federated-storage/1.0.0/inventory",
        }
    }

    pub const fn initiator(self) -> Side {
        match self {
            Self::Hello | Self::Heartbeat | Self::ReportLoss => Side::Node,
            Self::StoreChunk
            | Self::RetrieveChunk
            | Self::DeleteChunk
            | Self::ProofChallenge
            | Self::Inventory => Side::Coordinator,
        }
    }

    pub const fn lane(self) -> Lane {
        match self {
            Self::StoreChunk | Self::RetrieveChunk => Lane::Data,
            _ => Lane::Control,
        }
    }

    /// The most bytes that a frame of this protocol may have, in either direction.
    pub const fn max_frame_bytes(self) -> usize {
        match self {
            Self::Hello | Self::Heartbeat | Self::ReportLoss | Self::DeleteChunk => 64 * KIB,
            Self::StoreChunk | Self::RetrieveChunk => 5 * MIB,
            Self::ProofChallenge | Self::Inventory => MIB,
        }
    }
}
