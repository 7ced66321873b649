//! Messages as bytes.

use bytes::{Buf, Bytes, BytesMut};

use crate::ProtocolSpec;

/// Why bytes from a peer are not the message they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed message: {0}")]
pub struct Malformed(pub &'static str);

impl From<prost::DecodeError> for Malformed {
    fn from(_: prost::DecodeError) -> Self {
        Self("not the protobuf message of this protocol")
    }
}

/// One encoded message in at most two pieces, so that a blob goes to the socket from where it lies.
///
/// On the wire `head` comes first, then `body`; together they are the protobuf message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub head: Bytes,
    pub body: Bytes,
}

impl Frame {
    pub(crate) fn whole(message: &impl prost::Message) -> Self {
        Self {
            head: message.encode_to_vec().into(),
            body: Bytes::new(),
        }
    }

    /// A message whose field 15 is `body`, appended without a copy to the encoded other fields.
    pub(crate) fn with_body(message: &impl prost::Message, body: Bytes) -> Self {
        const FIELD_15_LENGTH_DELIMITED: u8 = (15 << 3) | 2;
        if body.is_empty() {
            return Self::whole(message); // proto3 leaves an empty field out
        }
        let mut head = BytesMut::with_capacity(message.encoded_len() + 11);
        // Writing to a growing buffer cannot run out of room.
        let _ = message.encode(&mut head);
        head.extend_from_slice(&[FIELD_15_LENGTH_DELIMITED]);
        let _ = prost::encode_length_delimiter(body.len(), &mut head);
        Self {
            head: head.freeze(),
            body,
        }
    }

    /// Bytes of the encoded message.
    pub fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Both pieces in one buffer.
    pub fn to_bytes(&self) -> Bytes {
        if self.body.is_empty() {
            return self.head.clone();
        }
        [&self.head[..], &self.body[..]].concat().into()
    }
}

/// Refuses a message in which `field` stands more than `limit` times, before anything is set aside for
/// its elements: a frame of two-byte elements would otherwise decode to fifty times its size.
pub(crate) fn at_most(limit: usize, field: u32, message: &Bytes) -> Result<(), Malformed> {
    use prost::encoding::{DecodeContext, decode_key, skip_field};
    let (mut rest, mut count) = (message.clone(), 0);
    while rest.has_remaining() {
        let (tag, wire_type) = decode_key(&mut rest)?;
        skip_field(wire_type, tag, &mut rest, DecodeContext::default())?;
        count += usize::from(tag == field);
        if count > limit {
            return Err(Malformed("more elements than a message may have"));
        }
    }
    Ok(())
}

/// A domain message and its wire form.
pub trait Message: Sized {
    fn into_frame(self) -> Frame;

    /// Reads a whole frame; blobs in the result are slices of it, not copies.
    fn from_bytes(bytes: Bytes) -> Result<Self, Malformed>;
}

/// A peer protocol with its request and its response.
pub trait Rpc {
    const PROTOCOL: ProtocolSpec;
    type Request: Message + Send;
    type Response: Message + Send;
}
