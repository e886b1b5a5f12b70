//! `REQUEST AS` at moments whose keys may have been forgotten: an event that has arrived at the same moment is the same, whether or not expiry has come by.

use std::sync::Arc;

use arrow::array::{Array, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use lockstep_model::{EventTime, TimeMode};
use lockstep_store::OnlineStore;
use lockstep_transform::next_event::ViewState;
use lockstep_transform::tiles::Shape;

use crate::support::Project;

const SQL: &str = "
    CREATE ENTITY shop (shop VARCHAR);
    CREATE SOURCE sales (id BIGINT PRIMARY KEY, shop VARCHAR, at TIMESTAMP) WITH (event_time = 'at', allowed_lateness = '10 minutes', history = 'all');
    CREATE FEATURE VIEW takings ENTITY shop AS SELECT shop, count(*) OVER w AS n FROM sales
    WINDOW w AS (PARTITION BY shop ORDER BY at RANGE UNBOUNDED PRECEDING);
    CREATE FEATURE SERVICE next AS SELECT t.n AS n FROM REQUEST AS sales r LEFT JOIN takings t ON t.shop = r.shop;";

#[test]
fn an_event_whose_key_is_forgotten_counts_once_at_its_moment() {
    let row = |id: i64, minute: i64| format!("{{\"id\":{id},\"shop\":\"a\",\"at\":\"2024-01-01T{:02}:{:02}:00Z\"}}\n", minute / 60, minute % 60);
    // Enough of them that what has arrived lies in the tree.
    let log: String = (0..200).map(|id| row(id, id)).collect();
    let project = Project::of(SQL, &[("log.ndjson", log.as_bytes())]);
    let (store, target) = project.published();
    project.stream(&store, &target, 7, Shape { leaf_rows_max: 8, buffer_rows_max: 4 }, &Arc::default());
    let minute = |minute: i64| EventTime::parse("2024-01-01T00:00:00Z").unwrap().0 + minute * 60_000_000;
    for compacted in [false, true] {
        if compacted {
            store.compact().unwrap();
        }
        let cut = OnlineStore::cut(&store);
        let state = cut.state(target.generation.generation);
        let before: Vec<(u16, i64)> =
            cut.horizon(target.generation.generation).unwrap().keys_before.iter().map(|&(source, before)| (source, before.0)).collect();
        assert_eq!(before, [(0, minute(189))]);
        let view = ViewState { state: &state, keys: &state, keys_before: &before };
        // Of the minutes 20 and 195 their own events, and others; twice in a batch.
        let asked = [(20, 20), (900, 20), (195, 195), (900, 195), (20, 20), (900, 199)];
        let request = RecordBatch::try_from_iter([
            ("id", Arc::new(Int64Array::from_iter_values(asked.iter().map(|(id, _)| *id))) as _),
            ("shop", Arc::new(StringArray::from(vec!["a"; asked.len()])) as _),
        ])
        .unwrap();
        let moments: Vec<i64> = asked.iter().map(|(_, at)| minute(*at)).collect();
        let answer = project.catalog().services["next"].answer_events(&[view], &request, &moments, TimeMode::Event, None).unwrap();
        assert_eq!(answer.columns[0].null_count(), 0);
        assert_eq!(answer.columns[0].as_primitive::<Int64Type>().values(), &[21, 22, 196, 197, 21, 201], "compacted: {compacted}");
    }
}
