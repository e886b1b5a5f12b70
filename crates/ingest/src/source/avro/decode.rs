//! Records of one schema to an Arrow batch, by arrow-avro.

use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_avro::reader::{Decoder, ReaderBuilder};
use arrow_avro::schema::{AvroSchema, CONFLUENT_MAGIC, Fingerprint, FingerprintAlgorithm, SchemaStore};

/// Most records that are decoded at once; a chunk has fewer.
const RECORDS_MAX: usize = 1 << 20;

/// Decodes the records of one schema.
pub(super) struct Records {
    /// The schema, and the indices of the fields that are wanted.
    json: String,
    wanted: Vec<usize>,
    decoder: Decoder,
    /// A record with the prefix that arrow-avro knows it by.
    framed: Vec<u8>,
}

impl Records {
    /// # Errors
    /// Why arrow-avro does not read the schema.
    pub(super) fn new(json: String, wanted: Vec<usize>) -> Result<Records, String> {
        let decoder = decoder(&json, &wanted)?;
        Ok(Records { json, wanted, decoder, framed: Vec::new() })
    }

    /// The fields that are wanted, as Arrow has them.
    pub(super) fn schema(&self) -> SchemaRef {
        self.decoder.schema()
    }

    /// Decodes records that were walked, which therefore do decode: all of them, or the reason why they do not.
    pub(super) fn decode<'a>(&mut self, records: impl Iterator<Item = &'a [u8]> + Clone) -> Result<Option<RecordBatch>, String> {
        // Should it find something to assert after all, that is no reason to fall with it.
        let decoded = catch_unwind(AssertUnwindSafe(|| self.decode_all(records)));
        let decoded = decoded.unwrap_or_else(|_| Err("the decoder failed".to_owned()));
        if decoded.is_err() {
            // Its columns may be of uneven length by now.
            self.decoder = decoder(&self.json, &self.wanted)?;
        }
        decoded
    }

    fn decode_all<'a>(&mut self, records: impl Iterator<Item = &'a [u8]>) -> Result<Option<RecordBatch>, String> {
        for record in records {
            self.framed.clear();
            self.framed.extend_from_slice(&CONFLUENT_MAGIC);
            self.framed.extend_from_slice(&[0; 4]);
            self.framed.extend_from_slice(record);
            let read = self.decoder.decode(&self.framed).map_err(|error| error.to_string())?;
            if read != self.framed.len() {
                return Err(format!("{} of its bytes were read", read.saturating_sub(5)));
            }
        }
        self.decoder.flush().map_err(|error| error.to_string())
    }
}

fn decoder(json: &str, wanted: &[usize]) -> Result<Decoder, String> {
    let mut store = SchemaStore::new_with_type(FingerprintAlgorithm::Id);
    store.set(Fingerprint::Id(0), AvroSchema::new(json.to_owned())).map_err(|error| error.to_string())?;
    let builder = ReaderBuilder::new().with_writer_schema_store(store).with_batch_size(RECORDS_MAX).with_projection(wanted.to_vec());
    builder.build_decoder().map_err(|error| error.to_string())
}
