//! `inventory`: what a node holds, compared with little on the wire.
//!
//! The node cuts what it holds into groups of so many blobs in the order of their ids, and answers each
//! group's last id, its number of blobs, and [`IdsDigest`]. Whoever knows what should be there reads its
//! own ids up to the same last id and compares; where they differ it asks for smaller groups, then for
//! the blobs. Only what differs is read again, so a node reads each id little more than once, and one
//! message asks for a bounded amount of work whatever lies in a range.
//!
//! Rejected: digests that can be added and subtracted, kept up to date by the node: every store would
//! pay for them. Ranges cut by the asker: how much lies in one, only the node knows.

use bytes::Bytes;

use crate::fields::blob_id;
use crate::frame::at_most;
use crate::{BlobId, Frame, Locator, Malformed, Message, ProtocolSpec, Rpc, protocols, wire};

/// An `inventory` request has no more than this.
pub const MAX_INVENTORY_RANGES: usize = 256;
/// An answer has no more than this.
pub const MAX_INVENTORY_GROUPS: usize = 4096;
/// An answer has no more than this.
pub const MAX_INVENTORY_ITEMS: usize = 4096;
/// Nor a group.
pub const MAX_GROUP_BLOBS: u32 = 65_536;

/// coordinator → node: what do you hold between these ids?
#[derive(Debug, Clone, Copy)]
pub struct Inventory;

impl Rpc for Inventory {
    const PROTOCOL: ProtocolSpec = protocols::INVENTORY;
    type Request = InventoryRequest;
    type Response = InventoryAnswer;
}

/// Blob ids from `first` to `last`, both among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobRange {
    pub first: BlobId,
    pub last: BlobId,
}

impl BlobRange {
    pub const ALL: Self = Self {
        first: BlobId::from_bytes([0; 32]),
        last: BlobId::from_bytes([0xff; 32]),
    };

    pub fn contains(&self, id: &BlobId) -> bool {
        (self.first..=self.last).contains(id)
    }

    /// What of it lies behind `id`.
    pub fn behind(&self, id: &BlobId) -> Option<Self> {
        let first = id.next().filter(|first| *first <= self.last)?;
        Some(Self {
            first: first.max(self.first),
            last: self.last,
        })
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InventoryAsk {
    /// A digest for each so many blobs that are neither damaged nor in the trash; from 1 to
    /// [`MAX_GROUP_BLOBS`].
    Digests { group: u32 },
    /// The blobs themselves, those in the trash too.
    Items,
    /// Those in the trash. A node of an older version answers as to [`Self::Items`].
    Trash,
}

/// 1 to [`MAX_INVENTORY_RANGES`] ranges, in order and apart from one another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InventoryRequest {
    ranges: Vec<BlobRange>,
    ask: InventoryAsk,
}

impl InventoryRequest {
    pub fn new(ranges: Vec<BlobRange>, ask: InventoryAsk) -> Result<Self, Malformed> {
        if !(1..=MAX_INVENTORY_RANGES).contains(&ranges.len()) {
            return Err(Malformed("an inventory is of 1 to 256 ranges"));
        }
        let forward = ranges.iter().all(|range| range.first <= range.last);
        let apart = ranges.windows(2).all(|pair| pair[0].last < pair[1].first);
        if !forward || !apart {
            return Err(Malformed("ranges must be in order and apart"));
        }
        if let InventoryAsk::Digests { group } = ask
            && !(1..=MAX_GROUP_BLOBS).contains(&group)
        {
            return Err(Malformed("a group has 1 to 65536 blobs"));
        }
        Ok(Self { ranges, ask })
    }

    pub fn ranges(&self) -> &[BlobRange] {
        &self.ranges
    }

    pub const fn ask(&self) -> InventoryAsk {
        self.ask
    }

    /// Whether an answer can be one to this request.
    pub fn check(&self, answer: &InventoryAnswer) -> Result<(), Malformed> {
        let last_ids = match self.ask {
            InventoryAsk::Digests { .. } if !answer.items.is_empty() => {
                return Err(Malformed("blobs where digests were asked for"));
            }
            InventoryAsk::Digests { group } => {
                if answer.groups.iter().any(|told| told.count > group) {
                    return Err(Malformed("a group larger than was asked for"));
                }
                self.in_order(answer.groups.iter().map(|group| group.last))?
            }
            InventoryAsk::Items | InventoryAsk::Trash if !answer.groups.is_empty() => {
                return Err(Malformed("digests where blobs were asked for"));
            }
            InventoryAsk::Items | InventoryAsk::Trash => {
                self.in_order(answer.items.iter().map(|item| item.blob_id))?
            }
        };
        let Some(resume_from) = answer.resume_from else {
            return Ok(());
        };
        let goes_on =
            resume_from > self.ranges[0].first && last_ids.is_none_or(|id| id < resume_from);
        if !goes_on || !self.ranges.iter().any(|range| range.contains(&resume_from)) {
            return Err(Malformed("an inventory that does not go on"));
        }
        Ok(())
    }

    /// Checks that ids ascend and lie in the ranges; the last of them.
    fn in_order(&self, ids: impl Iterator<Item = BlobId>) -> Result<Option<BlobId>, Malformed> {
        let mut ranges = self.ranges.iter().peekable();
        let mut before: Option<BlobId> = None;
        for id in ids {
            while ranges.next_if(|range| range.last < id).is_some() {}
            let inside = ranges.peek().is_some_and(|range| range.contains(&id));
            if !inside || before.is_some_and(|before| before >= id) {
                return Err(Malformed("ids out of order, or out of their ranges"));
            }
            before = Some(id);
        }
        Ok(before)
    }

    /// What an answer that ended at `resume_from` has left unsaid. `None`: nothing.
    pub fn rest(&self, resume_from: Option<BlobId>) -> Option<Self> {
        let resume_from = resume_from?;
        let rest = self.ranges.iter().filter(|range| range.last >= resume_from);
        let ranges: Vec<_> = rest
            .map(|range| BlobRange {
                first: range.first.max(resume_from),
                ..*range
            })
            .collect();
        (!ranges.is_empty()).then_some(Self {
            ranges,
            ask: self.ask,
        })
    }
}

impl Message for InventoryRequest {
    fn into_frame(self) -> Frame {
        let ranges = self.ranges.iter().map(|range| wire::BlobRange {
            first: Bytes::copy_from_slice(range.first.as_bytes()),
            last: Bytes::copy_from_slice(range.last.as_bytes()),
        });
        Frame::whole(&wire::InventoryRequest {
            ranges: ranges.collect(),
            list: !matches!(self.ask, InventoryAsk::Digests { .. }),
            group: match self.ask {
                InventoryAsk::Digests { group } => group,
                InventoryAsk::Items | InventoryAsk::Trash => 0,
            },
            trash_only: self.ask == InventoryAsk::Trash,
        })
    }

    fn from_bytes(bytes: Bytes) -> Result<Self, Malformed> {
        at_most(MAX_INVENTORY_RANGES, 1, &bytes)?;
        let message = <wire::InventoryRequest as prost::Message>::decode(bytes)?;
        let range = |range: wire::BlobRange| {
            Ok(BlobRange {
                first: blob_id(&range.first)?,
                last: blob_id(&range.last)?,
            })
        };
        let ranges = message.ranges.into_iter().map(range);
        let ask = match (message.list, message.group) {
            (true, 0) if message.trash_only => InventoryAsk::Trash,
            (true, 0) => InventoryAsk::Items,
            (true, _) => return Err(Malformed("blobs are not asked for in groups")),
            (false, _) if message.trash_only => {
                return Err(Malformed("there are no digests of the trash"));
            }
            (false, group) => InventoryAsk::Digests { group },
        };
        Self::new(ranges.collect::<Result<_, Malformed>>()?, ask)
    }
}

/// node → coordinator: groups or items, as was asked, in order.
///
/// [`InventoryRequest::check`] tells whether it is an answer to that request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InventoryAnswer {
    pub groups: Vec<GroupDigest>,
    pub items: Vec<InventoryItem>,
    /// Everything before this has been said; `None`: everything.
    pub resume_from: Option<BlobId>,
}

/// So many blobs in a row, behind the group before or the beginning of their range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupDigest {
    pub count: u32,
    /// Of their ids: [`IdsDigest`].
    pub digest: [u8; 32],
    pub last: BlobId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InventoryItem {
    pub blob_id: BlobId,
    pub length: u64,
    /// Since it was stored, by the node's clock.
    pub age_s: u64,
    pub locator: Locator,
    pub trashed: bool,
    /// Since it went to the trash, by the node's clock; older nodes do not say.
    pub trashed_age_s: Option<u64>,
}

impl Message for InventoryAnswer {
    fn into_frame(self) -> Frame {
        let groups = self.groups.iter().map(|group| wire::GroupDigest {
            count: group.count,
            digest: Bytes::copy_from_slice(&group.digest),
            last: Bytes::copy_from_slice(group.last.as_bytes()),
        });
        let items = self.items.iter().map(|item| wire::InventoryItem {
            blob_id: Bytes::copy_from_slice(item.blob_id.as_bytes()),
            length: item.length,
            age_s: item.age_s,
            locator: Bytes::copy_from_slice(item.locator.as_bytes()),
            trashed: item.trashed,
            trashed_age_s: item.trashed_age_s,
        });
        Frame::whole(&wire::InventoryResponse {
            groups: groups.collect(),
            items: items.collect(),
            resume_from: self
                .resume_from
                .map_or(Bytes::new(), |id| Bytes::copy_from_slice(id.as_bytes())),
        })
    }

    fn from_bytes(bytes: Bytes) -> Result<Self, Malformed> {
        at_most(MAX_INVENTORY_GROUPS, 1, &bytes)?;
        at_most(MAX_INVENTORY_ITEMS, 2, &bytes)?;
        let message = <wire::InventoryResponse as prost::Message>::decode(bytes)?;
        let groups = message.groups.iter().map(GroupDigest::try_from);
        let items = message.items.iter().map(InventoryItem::try_from);
        Ok(Self {
            groups: groups.collect::<Result<_, _>>()?,
            items: items.collect::<Result<_, _>>()?,
            resume_from: match &message.resume_from[..] {
                [] => None,
                id => Some(blob_id(id)?),
            },
        })
    }
}

impl TryFrom<&wire::GroupDigest> for GroupDigest {
    type Error = Malformed;

    fn try_from(group: &wire::GroupDigest) -> Result<Self, Malformed> {
        if !(1..=MAX_GROUP_BLOBS).contains(&group.count) {
            return Err(Malformed("a group has 1 to 65536 blobs"));
        }
        Ok(Self {
            count: group.count,
            digest: group.digest[..]
                .try_into()
                .map_err(|_| Malformed("a digest must have 32 bytes"))?,
            last: blob_id(&group.last)?,
        })
    }
}

impl TryFrom<&wire::InventoryItem> for InventoryItem {
    type Error = Malformed;

    fn try_from(item: &wire::InventoryItem) -> Result<Self, Malformed> {
        Ok(Self {
            blob_id: blob_id(&item.blob_id)?,
            length: item.length,
            age_s: item.age_s,
            locator: Locator::try_from(&item.locator[..])?,
            trashed: item.trashed,
            trashed_age_s: item.trashed_age_s,
        })
    }
}

/// BLAKE3 of blob ids, one behind the other, in ascending order.
#[derive(Debug, Clone, Default)]
pub struct IdsDigest {
    hasher: blake3::Hasher,
    count: u32,
}

impl IdsDigest {
    pub fn add(&mut self, id: &BlobId) {
        self.hasher.update(id.as_bytes());
        self.count += 1;
    }

    /// Ids that were added.
    pub const fn count(&self) -> u32 {
        self.count
    }

    pub fn finish(&self) -> [u8; 32] {
        *self.hasher.finalize().as_bytes()
    }
}
