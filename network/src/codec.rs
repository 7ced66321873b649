//! Frames on a stream: an unsigned varint with the length, then that many bytes.
//!
//! The length is checked against the protocol's cap before a byte is read, and memory grows with
//! the bytes that arrive, so a peer that announces much and sends little holds little. The end of
//! the stream is never relied upon: a frame is complete when its bytes are.

use std::io;

use bytes::{Bytes, BytesMut};
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use proto::{Frame, ProtocolSpec};

/// The most memory that is set aside for bytes that have not arrived yet.
const READ_AHEAD_BYTES: usize = 512 * 1024;

/// A body up to this long is copied behind its head: cheaper than a frame and a system call of its own.
const COPIED_BODY_BYTES: usize = 16 * 1024;

#[derive(Debug, Clone, Copy)]
pub(crate) struct FrameCodec {
    max_frame_bytes: usize,
}

impl FrameCodec {
    pub(crate) fn new(protocol: &ProtocolSpec) -> Self {
        Self {
            max_frame_bytes: protocol.max_frame_bytes,
        }
    }

    pub(crate) async fn read(&self, io: &mut (impl AsyncRead + Unpin + Send)) -> io::Result<Frame> {
        let length =
            unsigned_varint::aio::read_u64(&mut *io)
                .await
                .map_err(|error| match error {
                    unsigned_varint::io::ReadError::Io(error) => error,
                    error => io::Error::new(io::ErrorKind::InvalidData, error),
                })?;
        let length = usize::try_from(length)
            .ok()
            .filter(|length| *length <= self.max_frame_bytes)
            .ok_or_else(|| {
                let cap = self.max_frame_bytes;
                let text = format!("a frame of {length} bytes where at most {cap} are allowed");
                io::Error::new(io::ErrorKind::InvalidData, text)
            })?;
        let mut buffer = BytesMut::new();
        while buffer.len() < length {
            let filled = buffer.len();
            // Zeroed first: a stream of libp2p reads into initialised bytes only.
            buffer.resize(length.min(filled + READ_AHEAD_BYTES), 0);
            io.read_exact(&mut buffer[filled..]).await?;
        }
        Ok(Frame {
            head: buffer.freeze(),
            body: Bytes::new(),
        })
    }

    pub(crate) async fn write(
        &self,
        io: &mut (impl AsyncWrite + Unpin + Send),
        frame: Frame,
    ) -> io::Result<()> {
        if frame.len() > self.max_frame_bytes {
            let (length, cap) = (frame.len(), self.max_frame_bytes);
            let text = format!("refusing to send a frame of {length} bytes, the cap is {cap}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let mut prefix = unsigned_varint::encode::u64_buffer();
        let prefix = unsigned_varint::encode::u64(frame.len() as u64, &mut prefix);
        // Small parts travel together: a stream turns every write into a frame of its own.
        if frame.body.len() <= COPIED_BODY_BYTES {
            let whole = [prefix, &frame.head, &frame.body].concat();
            return io.write_all(&whole).await;
        }
        io.write_all(&[prefix, &frame.head].concat()).await?;
        io.write_all(&frame.body).await
    }
}

#[cfg(test)]
mod tests {
    use futures::io::Cursor;
    use proptest::prelude::*;
    use proto::protocols;

    use super::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        futures::executor::block_on(future)
    }

    fn codec() -> FrameCodec {
        FrameCodec::new(&protocols::HELLO)
    }

    fn written(frame: Frame) -> Vec<u8> {
        let mut io = Cursor::new(Vec::new());
        block_on(codec().write(&mut io, frame)).unwrap();
        io.into_inner()
    }

    #[test]
    fn a_frame_is_its_length_as_a_varint_and_then_its_bytes() {
        let frame = Frame {
            head: Bytes::from(vec![7; 200]),
            body: Bytes::from_static(b"body"),
        };
        let bytes = written(frame);
        assert_eq!(bytes[..2], [0xcc, 0x01]); // 204
        assert_eq!(bytes[2..202], [7; 200]);
        assert_eq!(&bytes[202..], b"body");
    }

    #[test]
    fn a_frame_beyond_the_cap_is_neither_read_nor_written() {
        let too_long = protocols::HELLO.max_frame_bytes + 1;
        let mut prefix = unsigned_varint::encode::u64_buffer();
        let announced = unsigned_varint::encode::u64(too_long as u64, &mut prefix);
        let error = block_on(codec().read(&mut Cursor::new(announced))).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);

        let frame = Frame {
            head: Bytes::from(vec![0; too_long]),
            body: Bytes::new(),
        };
        let error = block_on(codec().write(&mut Cursor::new(Vec::new()), frame)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_frame_that_ends_early_is_an_error() {
        let mut bytes = written(Frame {
            head: Bytes::from_static(b"whole"),
            body: Bytes::new(),
        });
        bytes.pop();
        let error = block_on(codec().read(&mut Cursor::new(bytes))).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(head: Vec<u8>, body: Vec<u8>) {
            let frame = Frame { head: head.into(), body: body.into() };
            let read = block_on(codec().read(&mut Cursor::new(written(frame.clone())))).unwrap();
            prop_assert_eq!(read.to_bytes(), frame.to_bytes());
        }

        #[test]
        fn any_bytes_are_read_or_refused_without_a_panic(bytes: Vec<u8>) {
            let _ = block_on(codec().read(&mut Cursor::new(bytes)));
        }
    }

    #[test]
    fn frames_of_strangers_are_read_within_their_cap_or_refused() {
        let frame = |length| Frame {
            head: vec![7; length].into(),
            body: Bytes::new(),
        };
        let sound = [0, 1, 127, 128, 300].map(|length| written(frame(length)));
        let crate_dir = env!("CARGO_MANIFEST_DIR");
        hostile::attack(crate_dir, "frames", sound, |bytes| {
            if let Ok(frame) = block_on(codec().read(&mut Cursor::new(bytes))) {
                assert!(frame.len() <= protocols::HELLO.max_frame_bytes);
                // The shortest form of the length is the only one.
                let again = written(frame);
                assert_eq!(again, bytes[..again.len()]);
            }
        });
    }
}
