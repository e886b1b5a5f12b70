//! Parquet in an object store.

use std::ops::Range;
use std::sync::Arc;

use ::parquet::arrow::arrow_reader::ArrowReaderOptions;
use ::parquet::arrow::async_reader::AsyncFileReader;
use ::parquet::errors::{ParquetError, Result};
use ::parquet::file::metadata::ParquetMetaData;
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use object_store::path::Path;
use object_store::{GetOptions, OBJECT_STORE_COALESCE_DEFAULT, ObjectStore, coalesce_ranges};

/// Ranges of one version of an object: where the store gives entity tags, bytes of another version are refused rather than mixed in.
#[derive(Clone)]
pub(super) struct Object {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) path: Path,
    pub(super) etag: Option<String>,
}

impl Object {
    pub(super) async fn range(&self, range: Range<u64>) -> object_store::Result<Bytes> {
        let options = GetOptions { if_match: self.etag.clone(), range: Some(range.into()), ..GetOptions::default() };
        self.store.get_opts(&self.path, options).await?.bytes().await
    }
}

/// What the Parquet reader reads from.
pub(super) struct ObjectFile {
    pub(super) object: Object,
    pub(super) metadata: Arc<ParquetMetaData>,
}

fn external(error: object_store::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}

impl AsyncFileReader for ObjectFile {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>> {
        async move { self.object.range(range).await.map_err(external) }.boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>>> {
        let object = self.object.clone();
        async move {
            let fetch = |range| {
                let object = object.clone();
                async move { object.range(range).await }
            };
            coalesce_ranges(&ranges, fetch, OBJECT_STORE_COALESCE_DEFAULT).await.map_err(external)
        }
        .boxed()
    }

    fn get_metadata<'a>(&'a mut self, _: Option<&'a ArrowReaderOptions>) -> BoxFuture<'a, Result<Arc<ParquetMetaData>>> {
        let metadata = self.metadata.clone();
        async move { Ok(metadata) }.boxed()
    }
}
