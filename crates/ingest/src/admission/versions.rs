//! The versions of one key, and when each was what was known.
//!
//! At a moment the greatest version available by then is what is known; so a version was ever known only if no greater one was available as early. What
//! is kept of a key are those versions: ascending, and ascending in availability too. One that is not among them can never come to be, whatever arrives
//! later, so it is forgotten, and what is left is a function of the set of versions that arrived and not of their order. Where a source
//! declares no availability, all of its versions are available for ever and one is left, the greatest.
//!
//! A tombstone is a version like any other, greater than the row of an equal version, except that no row is known while it is the greatest.

use std::cmp::Ordering;

use lockstep_model::EventTime;
use lockstep_model::codec::{CodecError, Reader, put_bytes};
use lockstep_store::KeyEntryHeader;
use smallvec::SmallVec;

use super::LAYOUT;
use super::admitted::{Known, Place};

/// A row or a tombstone under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Version<'a> {
    /// Bytes that order as versions do.
    pub(super) version: &'a [u8],
    pub(super) is_tombstone: bool,
    /// From when it was known, µs.
    pub(super) known_from: i64,
    /// The row by the row codec; empty of a tombstone.
    pub(super) content: &'a [u8],
    /// Where the row is at hand.
    pub(super) place: Place<'a>,
}

impl Version<'_> {
    fn order(&self, other: &Version<'_>) -> Ordering {
        (self.version, self.is_tombstone).cmp(&(other.version, other.is_tombstone))
    }
}

/// What became of a version that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It is new. Whether a version gave way: it to a greater one, or the greatest so far to it; and whether it is the greatest now.
    Taken { superseded: bool, is_greatest: bool },
    /// It was there.
    Duplicate,
    /// Another row of its version was there.
    Conflict,
}

/// The versions of a key that are or once were known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Versions<'a> {
    /// Ascending by version, and by `known_from`.
    list: SmallVec<[Version<'a>; 1]>,
    /// The largest event time of any version that arrived, by which the entry expires; `None` before the first.
    event_time: Option<i64>,
}

impl<'a> Versions<'a> {
    /// Takes in a version; `event_time` is what its key has to be remembered for.
    pub(super) fn arrive(&mut self, arrived: Version<'a>, event_time: i64) -> Arrival {
        let arrival = match self.list.binary_search_by(|known| known.order(&arrived)) {
            Ok(at) => self.repeat(at, &arrived),
            Err(at) => self.insert(at, arrived),
        };
        if arrival != Arrival::Conflict {
            self.event_time = self.event_time.max(Some(event_time));
        }
        arrival
    }

    fn insert(&mut self, at: usize, arrived: Version<'a>) -> Arrival {
        let (superseded, is_greatest) = (!self.list.is_empty(), at == self.list.len());
        let was_never_known = self.list.get(at).is_some_and(|greater| greater.known_from <= arrived.known_from);
        if !was_never_known {
            self.list.insert(at, arrived);
            self.forget_unknown(at);
        }
        Arrival::Taken { superseded, is_greatest }
    }

    /// The earliest availability of equal rows stands.
    fn repeat(&mut self, at: usize, arrived: &Version<'a>) -> Arrival {
        let known = &mut self.list[at];
        if known.content != arrived.content {
            return Arrival::Conflict;
        }
        if arrived.known_from < known.known_from {
            known.known_from = arrived.known_from;
            self.forget_unknown(at);
        }
        Arrival::Duplicate
    }

    /// Forgets lesser versions that were not available before the one at `at`.
    fn forget_unknown(&mut self, at: usize) {
        let known_from = self.list[at].known_from;
        let first = self.list[..at].partition_point(|lesser| lesser.known_from < known_from);
        self.list.drain(first..at);
    }

    /// The rows, ascending, with the time in which each is what is known.
    pub(super) fn rows(&self) -> impl Iterator<Item = (&Version<'a>, Known)> {
        let ends = self.list.iter().skip(1).map(|next| next.known_from).chain([i64::MAX]);
        let known = self.list.iter().zip(ends).map(|(version, until)| (version, (version.known_from, until)));
        known.filter(|(version, _)| !version.is_tombstone)
    }

    /// Calls `change` for each row that differs in `self` and `after`: first that it goes as it was, then that it comes as it is.
    pub(super) fn changes_to(&self, after: &Versions<'a>, mut change: impl FnMut(bool, &Version<'a>, Known)) {
        let (mut old, mut new) = (self.rows().peekable(), after.rows().peekable());
        loop {
            let order = match (old.peek(), new.peek()) {
                (None, None) => return,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((old, _)), Some((new, _))) => old.order(new),
            };
            let goes = old.next_if(|_| order.is_le());
            let comes = new.next_if(|_| order.is_ge());
            if let (Some((_, before)), Some((_, after))) = (&goes, &comes)
                && before == after
            {
                continue;
            }
            if let Some((version, known)) = goes {
                change(false, version, known);
            }
            if let Some((version, known)) = comes {
                change(true, version, known);
            }
        }
    }

    /// The key's entry: `event time (8 bytes) ‖ layout version ‖ versions`, each `version ‖ is a tombstone [‖ known from] [‖ content]`.
    pub(super) fn encode(&self, timed: bool) -> Vec<u8> {
        let size: usize = self.list.iter().map(|version| version.version.len() + version.content.len() + 14).sum();
        let mut bytes = Vec::with_capacity(KeyEntryHeader::LEN + 1 + size);
        KeyEntryHeader { event_time: EventTime(self.event_time.unwrap_or(i64::MIN)) }.put(&mut bytes);
        bytes.push(LAYOUT);
        for version in &self.list {
            put_bytes(&mut bytes, version.version);
            bytes.push(u8::from(version.is_tombstone));
            if timed {
                bytes.extend_from_slice(&version.known_from.to_be_bytes());
            }
            if !version.is_tombstone {
                put_bytes(&mut bytes, version.content);
            }
        }
        bytes
    }

    /// Reads an entry.
    pub(super) fn decode(bytes: &'a [u8], timed: bool) -> Result<Self, CodecError> {
        let (header, rest) = KeyEntryHeader::split(bytes).ok_or(CodecError::new("truncated"))?;
        let mut rest = Reader::new(rest);
        if rest.byte()? != LAYOUT {
            return Err(CodecError::new("a layout of another release"));
        }
        let mut versions = Versions { list: SmallVec::new(), event_time: Some(header.event_time.0) };
        while !rest.is_empty() {
            let version = decode_version(&mut rest, timed)?;
            let ascends = |last: &Version<'_>| last.order(&version).is_lt() && last.known_from < version.known_from;
            if !versions.list.last().is_none_or(ascends) {
                return Err(CodecError::new("versions out of order"));
            }
            versions.list.push(version);
        }
        Ok(versions)
    }
}

fn decode_version<'a>(from: &mut Reader<'a>, timed: bool) -> Result<Version<'a>, CodecError> {
    let version = from.bytes()?;
    let is_tombstone = match from.byte()? {
        0 => false,
        1 => true,
        _ => return Err(CodecError::new("neither row nor tombstone")),
    };
    let known_from = if timed { i64::from_be_bytes(from.array()?) } else { i64::MIN };
    let content = if is_tombstone { &[] } else { from.bytes()? };
    Ok(Version { version, is_tombstone, known_from, content, place: Place::Stored(content) })
}
