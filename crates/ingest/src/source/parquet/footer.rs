//! The footer of a Parquet file: what is in the file, and what tells it from another.

use std::ops::Range;
use std::sync::Arc;

use ::parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use super::super::error::SourceError;

/// The length of the footer and `PAR1`.
const TAIL_BYTES: u64 = 8;
/// `PAR1` at both ends, and the length of the footer.
const SIZE_MIN: u64 = 12;
/// Read at once from the end: mostly all of the footer.
const FIRST_READ_BYTES: u64 = 64 << 10;

/// A footer that has been read.
pub(super) struct Footer {
    pub(super) metadata: Arc<ParquetMetaData>,
    /// Of its bytes.
    pub(super) hash: u64,
}

impl Footer {
    /// Reads the footer of a file of `size` bytes by `read`, which gives a range of them.
    pub(super) fn read(file: &str, size: u64, mut read: impl FnMut(Range<u64>) -> Result<Bytes, SourceError>) -> Result<Footer, SourceError> {
        let damaged = |what: String| SourceError::Damaged { file: file.to_owned(), what };
        if size < SIZE_MIN {
            return Err(damaged(format!("is not a whole Parquet file: it has {size} bytes · write it again")));
        }
        let end = read(size.saturating_sub(FIRST_READ_BYTES)..size)?;
        let Some((rest, &[l0, l1, l2, l3, ref magic @ ..])) = end.split_last_chunk::<8>() else {
            return Err(damaged(format!("was cut short while it was being read: it had {size} bytes · read it when it is whole")));
        };
        match magic {
            b"PAR1" => {}
            b"PARE" => return Err(damaged("is encrypted, which is not supported · write it without encryption".to_owned())),
            _ => return Err(damaged("does not end as a Parquet file does: it was cut short, or is none · write it again".to_owned())),
        }
        let len = u64::from(u32::from_le_bytes([l0, l1, l2, l3]));
        if len > size - SIZE_MIN {
            return Err(damaged(format!("is not a whole Parquet file: its footer says {len} bytes of {size} · write it again")));
        }
        let bytes = match usize::try_from(len).ok().and_then(|len| rest.len().checked_sub(len)) {
            Some(from) => end.slice(from..rest.len()),
            None => read(size - TAIL_BYTES - len..size - TAIL_BYTES)?,
        };
        let metadata = ParquetMetaDataReader::decode_metadata(&bytes);
        let metadata = metadata.map_err(|error| damaged(format!("has a damaged Parquet footer: {error} · write it again")))?;
        Ok(Footer { metadata: Arc::new(metadata), hash: xxh3_64(&bytes) })
    }
}
