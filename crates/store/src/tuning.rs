//! RocksDB's options, each with its reason. The crash tests count on what is said here about the write-ahead log.

use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, DBCompressionType, DBRecoveryMode, DataBlockIndexType, LogLevel, Options, WriteBufferManager,
};

use crate::StoreOptions;
use crate::expiry::{Expiry, ExpiryFilters, Filtered};
use crate::layout;

/// Memory shared by all families: one bound for blocks, filters, indexes and memtables together.
pub(crate) struct Memory {
    cache: Cache,
    write_buffers: WriteBufferManager,
}

impl Memory {
    pub(crate) fn new(options: &StoreOptions) -> Self {
        // The clock cache takes no lock on a hit, so that lookups on many cores do not queue behind each other.
        let cache = Cache::new_hyper_clock_cache(options.block_cache_bytes, 0);
        // Memtables are charged to the cache. Past the bound they are flushed early; writers never stall for it.
        let bound = options.write_buffer_bytes.saturating_mul(4);
        let write_buffers = WriteBufferManager::new_write_buffer_manager_with_cache(bound, false, cache.clone());
        Memory { cache, write_buffers }
    }
}

/// Options of the database as a whole.
pub(crate) fn database(options: &StoreOptions, memory: &Memory) -> Options {
    let mut db = Options::default();
    db.create_if_missing(true);
    db.create_missing_column_families(true);
    db.set_write_buffer_manager(&memory.write_buffers);
    db.set_max_background_jobs(i32::try_from(options.background_jobs).unwrap_or(i32::MAX));
    // A torn tail of the log is what a crash leaves and is cut off; anything damaged before it stops the recovery there, at a moment
    // that once was, never past a hole.
    db.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    // `meta` is small and would keep every log alive until its memtable is full; this bounds the log to replay, hence the time to open.
    db.set_max_total_wal_size((options.write_buffer_bytes as u64).saturating_mul(4));
    // Written back steadily rather than in bursts that would show in the latency of lookups. Neither is a promise of durability.
    db.set_bytes_per_sync(1 << 20);
    db.set_wal_bytes_per_sync(1 << 20);
    // Dropping a cut must not delete files on the thread that answers a lookup.
    db.set_avoid_unnecessary_blocking_io(true);
    db.set_skip_stats_update_on_db_open(true);
    db.set_allow_mmap_writes(false);
    db.set_log_level(LogLevel::Warn);
    db.set_keep_log_file_num(4);
    db.set_max_log_file_size(8 << 20);
    db
}

/// Options of one column family, with its expiry.
pub(crate) fn family(name: &str, options: &StoreOptions, memory: &Memory, expiry: &Expiry) -> Options {
    let mut family = tables(name, options, memory);
    let filtered = match name {
        layout::STATE => Some(Filtered::State),
        layout::KEYS => Some(Filtered::Keys),
        layout::REFUSALS | layout::DEAD_LETTERS => Some(Filtered::Ledger),
        _ => None,
    };
    if let Some(filtered) = filtered {
        family.set_compaction_filter_factory(ExpiryFilters { expiry: expiry.clone(), filtered });
        // Files that nothing is written over would never meet the filter: have each rewritten once a week.
        family.set_periodic_compaction_seconds(7 * 24 * 3600);
    }
    family
}

/// Options of one column family's memtables and files.
fn tables(name: &str, options: &StoreOptions, memory: &Memory) -> Options {
    let mut family = Options::default();
    // LZ4 where data is still moving, ZSTD where nine tenths of it come to rest.
    family.set_compression_type(DBCompressionType::Lz4);
    family.set_bottommost_compression_type(DBCompressionType::Zstd);
    family.set_level_compaction_dynamic_level_bytes(true);
    // Four memtables and RocksDB's usual level 0 limits (slow down at 20 files, stop at 36) leave room for a minute of ingestion
    // at full speed before a flush or a compaction has to catch up.
    family.set_max_write_buffer_number(4);
    let point_read = matches!(name, layout::STATE | layout::KEYS);
    family.set_write_buffer_size(match name {
        layout::STATE => options.write_buffer_bytes,
        layout::KEYS => options.write_buffer_bytes / 2,
        _ => (options.write_buffer_bytes / 8).max(1 << 20),
    });
    if point_read {
        // Most dedup lookups are for keys never seen: a filter over the memtable answers those without a walk down its skip list.
        family.set_memtable_whole_key_filtering(true);
        family.set_memtable_prefix_bloom_ratio(0.03);
    }
    family.set_block_based_table_factory(&blocks(name, point_read, memory));
    family
}

/// Options of the files of a bulk load. They are written as fast as may be, and the compactions that come by make of them what the rest is: of the time a file took, ZSTD was a
/// third and ribbon filters a sixth. Half of a dedup entry is a hash, which nothing compresses.
pub(crate) fn bulk_tables(name: &str, options: &StoreOptions, memory: &Memory) -> Options {
    let mut family = tables(name, options, memory);
    family.set_bottommost_compression_type(if name == layout::KEYS { DBCompressionType::None } else { DBCompressionType::Lz4 });
    let mut blocks = blocks(name, false, memory);
    blocks.set_bloom_filter(10.0, false);
    blocks.set_whole_key_filtering(true);
    hash_index(&mut blocks);
    family.set_block_based_table_factory(&blocks);
    family
}

/// A hash within each block finds a key without a binary search over its restart points.
fn hash_index(blocks: &mut BlockBasedOptions) {
    blocks.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
    blocks.set_data_block_hash_ratio(0.75);
}

fn blocks(name: &str, point_read: bool, memory: &Memory) -> BlockBasedOptions {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(&memory.cache);
    // State values are a few hundred bytes, and each lookup wants a few from everywhere: small blocks waste less of the cache.
    // Dedup entries are tiny and mostly asked for in vain: larger blocks compress better.
    blocks.set_block_size(if name == layout::STATE { 8 << 10 } else { 16 << 10 });
    // Indexes and filters live in the cache, in parts, under its bound: held whole outside it, they would grow with the data.
    // What every read needs of them (top levels, and all of level 0) stays pinned.
    blocks.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    blocks.set_partition_filters(true);
    blocks.set_metadata_block_size(4 << 10);
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_cache_index_and_filter_blocks_with_high_priority(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    blocks.set_pin_top_level_index_and_filter(true);
    if point_read {
        // One key in a hundred passes by mistake. Bloom in level 0, where files are short-lived and speed counts; ribbon below, a third smaller.
        blocks.set_hybrid_ribbon_filter(10.0, 1);
        blocks.set_whole_key_filtering(true);
        hash_index(&mut blocks);
    }
    blocks
}
