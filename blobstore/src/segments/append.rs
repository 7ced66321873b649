//! Writing records at the end of the active segment.

use std::fs::File;
use std::io::{self, IoSlice};
use std::sync::Arc;

use super::Segments;
use super::record::{ALIGNMENT, Fate, HEADER_LEN, Header, span};
use crate::blob::{Location, NewBlob};
use crate::disk::write_all_at;

/// Where the next record goes. Only the writer takes its lock.
#[derive(Debug, Default)]
pub(super) struct Tail {
    pub active: Option<Active>,
    /// The number of the next segment.
    pub next: u64,
}

#[derive(Debug)]
pub(super) struct Active {
    pub number: u64,
    pub file: Arc<File>,
    pub end: u64,
}

impl Segments {
    /// As many of the blobs as go into one segment, with one flush.
    pub(super) fn append_run<'b>(
        &self,
        tail: &mut Tail,
        batch: &'b [NewBlob],
    ) -> (&'b [NewBlob], io::Result<Vec<Location>>) {
        let fits = |end: u64| {
            let mut end = end;
            let fitting = batch.iter().take_while(|blob| {
                end += span(blob.data.len() as u64);
                end <= self.options.segment_bytes
            });
            fitting.count()
        };
        let room = tail.active.as_ref().map_or(0, |active| fits(active.end));
        // A blob that is larger than a segment should be still has one of its own.
        let count = match room {
            0 => fits(0).max(1),
            room => room,
        };
        let (run, _) = batch.split_at(count.min(batch.len()));
        if room == 0
            && let Err(error) = self.begin_segment(tail)
        {
            return (run, Err(error));
        }
        let Some(active) = &mut tail.active else {
            return (run, Err(io::Error::other("no segment is open")));
        };
        match active.write(run) {
            Ok(locations) => (run, Ok(locations)),
            Err(Failed { error, reusable }) => {
                let cut = active.file.set_len(active.end);
                if active.end == 0 {
                    let _ = self.files.remove(active.number); // else an empty file stays
                    tail.active = None;
                } else if !reusable || cut.is_err() {
                    tail.active = None;
                }
                (run, Err(error))
            }
        }
    }

    fn begin_segment(&self, tail: &mut Tail) -> io::Result<()> {
        tail.active = None;
        let number = tail.next;
        let file = self.files.create(number)?;
        tail.next = number + 1;
        tail.active = Some(Active {
            number,
            file,
            end: 0,
        });
        Ok(())
    }
}

struct Failed {
    error: io::Error,
    /// Whether the same place may be written again. After a failed flush it may not: the kernel takes
    /// the pages for clean.
    reusable: bool,
}

impl Active {
    fn write(&mut self, run: &[NewBlob]) -> Result<Vec<Location>, Failed> {
        const ZEROS: [u8; ALIGNMENT as usize] = [0; ALIGNMENT as usize];
        let mut end = self.end;
        let mut locations = Vec::with_capacity(run.len());
        let mut headers = Vec::with_capacity(run.len());
        for blob in run {
            let at = Location {
                segment: self.number,
                position: end,
            };
            let header = Header {
                id: blob.id,
                label: blob.label(),
                fate: match blob.trashed_at_ms {
                    Some(at_ms) => Fate::trashed(at_ms, blob.deferred_until_ms),
                    None => Fate::Live,
                },
            };
            headers.push(header.encode(at));
            locations.push(at);
            end += span(blob.data.len() as u64);
        }
        let mut slices = Vec::with_capacity(3 * run.len());
        for (blob, header) in run.iter().zip(&headers) {
            let length = blob.data.len();
            let padding = span(length as u64) as usize - HEADER_LEN - length;
            slices.push(IoSlice::new(header));
            slices.push(IoSlice::new(&blob.data));
            if padding > 0 {
                slices.push(IoSlice::new(&ZEROS[..padding]));
            }
        }
        let failed = |reusable| move |error| Failed { error, reusable };
        write_all_at(&self.file, &mut slices, self.end).map_err(failed(true))?;
        self.file.sync_data().map_err(failed(false))?;
        self.end = end;
        Ok(locations)
    }
}
