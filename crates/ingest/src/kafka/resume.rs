//! Whether a partition is still the log that a position was taken in, and where to read on.

use lockstep_model::{Error, KafkaPosition, RecordMark};

use super::client::Identity;

/// A partition as it is now.
#[derive(Debug)]
pub(super) struct Now<'a> {
    /// The source that reads it.
    pub(super) source: &'a str,
    /// Its name.
    pub(super) partition: &'a str,
    /// Which log it is.
    pub(super) identity: &'a Identity,
    /// Its first offset and the one behind its last.
    pub(super) bounds: (u64, u64),
}

/// The offset to read from: that of the last record passed where it is still there, so that it can be compared.
///
/// # Errors
/// Data where the log is another one, or lacks what comes next; what to do about it.
pub(super) fn start(position: &KafkaPosition, now: &Now<'_>) -> Result<u64, Error> {
    let Now { source, partition, identity, bounds: (low, high) } = *now;
    let KafkaPosition { cluster, topic_id, offset, last, .. } = position;
    if *cluster != identity.cluster {
        let what = format!("was read in cluster {cluster}, and this is cluster {}", identity.cluster);
        return Err(changed(source, partition, &what, "name the brokers of that cluster in [kafka]"));
    }
    if *topic_id != identity.topic_id {
        let what = format!("was read to offset {offset} and has been made anew since: its topic had the id {topic_id} and has {}", identity.topic_id);
        return Err(changed(source, partition, &what, "restore it"));
    }
    if *offset < low {
        let what = format!("was read to offset {offset} and begins at {low} now: the records between are gone");
        return Err(changed(source, partition, &what, "restore a store that has read them"));
    }
    if *offset > high {
        let what = format!("was read to offset {offset} and ends at {high} now: it has lost records");
        return Err(changed(source, partition, &what, "restore it"));
    }
    Ok(last.filter(|last| last.offset >= low).map_or(*offset, |last| last.offset))
}

/// Compares a record with what is remembered of the one at its offset.
///
/// # Errors
/// Data where it is another.
pub(super) fn compare(source: &str, partition: &str, known: &RecordMark, found: &RecordMark) -> Result<(), Error> {
    if known == found {
        return Ok(());
    }
    let what = format!("has another record at offset {} than was read there", known.offset);
    Err(changed(source, partition, &what, "restore it"))
}

/// What is said where records that were read are gone, and are to be read again.
pub(super) fn gone(position: &KafkaPosition, now: &Now<'_>) -> Error {
    let Now { partition, bounds: (low, _), .. } = now;
    let what = match position.gap {
        Some(gap) => format!("was gone on with at offset {gap}, and what was applied before is gone"),
        None => format!("was read from offset {} on and begins at {low} now", position.first),
    };
    Error::unavailable(format!("{partition} {what} · what was answered while it was there can be verified: `lockstep verify --served`"))
}

fn changed(source: &str, partition: &str, what: &str, remedy: &str) -> Error {
    Error::data(format!("{partition} {what} · {remedy}, or go on with what there is: `lockstep ingest --source {source} --accept-gap`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(identity: &Identity, bounds: (u64, u64)) -> Now<'_> {
        Now { source: "sales", partition: "kafka://sales/0", identity, bounds }
    }

    fn identity(cluster: &str, topic_id: &str) -> Identity {
        Identity { cluster: cluster.to_owned(), topic_id: topic_id.to_owned() }
    }

    fn position() -> KafkaPosition {
        let last = Some(RecordMark { offset: 7, time_ms: Some(1), hash: 2 });
        KafkaPosition {
            cluster: "c".to_owned(),
            topic_id: "t".to_owned(),
            first: 0,
            offset: 10,
            last,
            gap: None,
            event_time_max: None,
            begun_at: None,
            order: 0,
        }
    }

    #[test]
    fn a_log_that_is_the_same_is_read_from_its_last_record_on() {
        let same = identity("c", "t");
        assert_eq!(start(&position(), &now(&same, (0, 10))).unwrap(), 7);
        assert_eq!(start(&position(), &now(&same, (8, 20))).unwrap(), 10, "the record is gone, and none that was not read");
        assert_eq!(start(&position(), &now(&same, (10, 10))).unwrap(), 10);
    }

    #[test]
    fn a_log_that_is_another_is_told() {
        let wrong = |cluster: &str, topic_id: &str, bounds| start(&position(), &now(&identity(cluster, topic_id), bounds)).unwrap_err().to_string();
        let go_on = "or go on with what there is: `lockstep ingest --source sales --accept-gap`";
        assert_eq!(
            wrong("d", "t", (0, 10)),
            format!("kafka://sales/0 was read in cluster c, and this is cluster d · name the brokers of that cluster in [kafka], {go_on}")
        );
        assert_eq!(
            wrong("c", "u", (0, 10)),
            format!("kafka://sales/0 was read to offset 10 and has been made anew since: its topic had the id t and has u · restore it, {go_on}")
        );
        assert_eq!(
            wrong("c", "t", (11, 20)),
            format!(
                "kafka://sales/0 was read to offset 10 and begins at 11 now: the records between are gone · restore a store that has read them, {go_on}"
            )
        );
        assert_eq!(
            wrong("c", "t", (0, 9)),
            format!("kafka://sales/0 was read to offset 10 and ends at 9 now: it has lost records · restore it, {go_on}")
        );
    }
}
