//! Bytes and record batches within questions and answers.

use anyhow::Result;
use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use base64::prelude::{BASE64_STANDARD, Engine};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

/// Bytes, as base64 in JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BASE64_STANDARD.decode(String::deserialize(deserializer)?).map(Bytes).map_err(de::Error::custom)
    }
}

/// Rows with their types, as Arrow's own stream: the bits of every value are kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows(pub RecordBatch);

impl Rows {
    fn encode(&self) -> Result<Bytes> {
        let mut writer = StreamWriter::try_new(Vec::new(), &self.0.schema())?;
        writer.write(&self.0)?;
        Ok(Bytes(writer.into_inner()?))
    }

    fn decode(bytes: &Bytes) -> Result<Self> {
        let reader = StreamReader::try_new(bytes.0.as_slice(), None)?;
        let schema = reader.schema();
        Ok(Rows(concat_batches(&schema, &reader.collect::<Result<Vec<_>, _>>()?)?))
    }
}

impl Serialize for Rows {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.encode().map_err(ser::Error::custom)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Rows {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Rows::decode(&Bytes::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Float64Array, StringArray};
    use std::sync::Arc;

    #[test]
    fn rows_come_back_with_their_bits() {
        let numbers: ArrayRef = Arc::new(Float64Array::from(vec![Some(0.1 + 0.2), None, Some(f64::NAN), Some(-0.0)]));
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("größe"), None, Some(""), Some("\n")]));
        let rows = Rows(RecordBatch::try_from_iter([("n", numbers), ("t", texts)]).unwrap());
        let json = serde_json::to_string(&rows).unwrap();
        let again: Rows = serde_json::from_str(&json).unwrap();
        assert_eq!(again.0.schema(), rows.0.schema());
        assert!(again.0.columns().iter().zip(rows.0.columns()).all(|(a, b)| a.to_data() == b.to_data()));
        assert_eq!(serde_json::from_str::<Rows>(&serde_json::to_string(&Rows(rows.0.slice(0, 0))).unwrap()).unwrap().0.num_rows(), 0);
        assert!(serde_json::from_str::<Rows>("\"AAAA\"").is_err() && serde_json::from_str::<Bytes>("\"~\"").is_err());
    }
}
