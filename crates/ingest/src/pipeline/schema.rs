//! What readers are told of a source.

use std::sync::Arc;

use lockstep_transform::catalog::SourcePlan;

use crate::source::{Dialect, SourceSchema, zone::Zone};

/// What a reader has to know of a source.
pub fn schema_of(source: &SourcePlan) -> SourceSchema {
    SourceSchema {
        name: source.name.clone(),
        columns: Arc::clone(&source.schema),
        event_time: source.event_time,
        primary_key: source.primary_key.clone(),
        time_zone: zone(source.options.time_zone),
    }
}

/// How a source's CSV files are written.
pub fn dialect_of(source: &SourcePlan) -> Dialect {
    // The definition's check lets only ASCII through.
    let delimiter = u8::try_from(source.options.csv_delimiter).unwrap_or(b',');
    Dialect { delimiter, null: source.options.csv_null.clone() }
}

fn zone(zone: chrono_tz::Tz) -> Zone {
    match zone {
        chrono_tz::Tz::UTC | chrono_tz::Tz::Etc__UTC => Zone::Utc,
        zone => Zone::Named(zone),
    }
}
