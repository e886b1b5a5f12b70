//! Which vectors are logged: a function of what is asked alone, so that whoever asks the same again finds the same logged, on every server.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use arrow::array::RecordBatch;
use lockstep_model::row::RowCodec;
use lockstep_serve::feature_log::{Asked, Pick};
use xxhash_rust::xxh3::xxh3_64;

/// Chooses a share.
#[derive(Debug)]
pub struct Sampler {
    share: f64,
    /// Hashes below it are in.
    below: u64,
    /// How rows become bytes, by service or view.
    codecs: RwLock<HashMap<String, Arc<RowCodec>>>,
}

impl Sampler {
    /// One that chooses this share.
    pub fn new(share: f64) -> Sampler {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share from 0 to 1, of all numbers of 64 bits")]
        let below = (share * 2f64.powi(64)) as u64;
        Sampler { share, below, codecs: RwLock::default() }
    }

    /// The share.
    pub fn share(&self) -> f64 {
        self.share
    }

    /// Which rows of a request are in: all or none where it has an id, else each by its columns and its moment.
    pub fn pick(&self, asked: &Asked<'_>) -> Pick {
        match self.below {
            0 => Pick::None,
            u64::MAX => Pick::All,
            _ if !asked.request_id.is_empty() => self.pick_all(xxh3_64(asked.request_id.as_bytes())),
            _ => self.pick_rows(asked),
        }
    }

    fn pick_all(&self, hash: u64) -> Pick {
        if hash < self.below { Pick::All } else { Pick::None }
    }

    fn pick_rows(&self, asked: &Asked<'_>) -> Pick {
        let codec = self.codec(asked.name, asked.rows);
        let encoder = codec.as_ref().and_then(|codec| codec.encoder(asked.rows.columns()).ok());
        let mut bytes = Vec::with_capacity(64);
        let mut is_in = |(row, moment): (usize, &i64)| {
            bytes.clear();
            bytes.extend_from_slice(asked.name.as_bytes());
            bytes.push(0);
            bytes.extend_from_slice(&moment.to_le_bytes());
            if let Some(encoder) = &encoder {
                encoder.write(row, &mut bytes);
            }
            xxh3_64(&bytes) < self.below
        };
        let rows: Vec<u32> = asked.moments.iter().enumerate().filter(|row| is_in(*row)).map(|(row, _)| row as u32).collect();
        match rows.len() {
            0 => Pick::None,
            all if all == asked.moments.len() => Pick::All,
            _ => Pick::Some(rows),
        }
    }

    /// How the rows of a service or view become bytes; `None` where they have a type that has no bytes of its own, so that their moments alone decide.
    fn codec(&self, name: &str, rows: &RecordBatch) -> Option<Arc<RowCodec>> {
        let schema = rows.schema();
        if let Some(known) = self.codecs.read().unwrap_or_else(PoisonError::into_inner).get(name)
            && known.schema().fields() == schema.fields()
        {
            return Some(Arc::clone(known));
        }
        let made = Arc::new(RowCodec::new(schema).ok()?);
        // Names of services and views that there are, so that there is a bound on them.
        self.codecs.write().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), Arc::clone(&made));
        Some(made)
    }
}
