//! Answers of candidates with one row for each request: a list of what its candidates have.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use lockstep_model::{FilledBy, Status};

use super::{Answer, ByRequest, ServicePlan};

impl ServicePlan {
    /// What it gives to each request: of candidates, a list of each output.
    pub fn schema_by_request(&self) -> SchemaRef {
        if self.candidates.is_none() {
            return Arc::clone(&self.schema);
        }
        let list = |field: &Arc<Field>| Field::new(field.name(), DataType::List(element(field.data_type())), true);
        Arc::new(Schema::new(self.schema.fields().iter().map(list).collect::<Vec<_>>()))
    }
}

impl Answer {
    /// One row for each request: what its candidates have becomes a list, which has the first status that holds of any of them.
    #[must_use]
    pub fn by_requests(mut self) -> Answer {
        let Some(by) = self.by_request.take() else { return self };
        by.nest(&mut self.columns, &mut self.statuses, &mut self.filled_by, &mut self.event_times);
        self.oldest_inputs = by.ranges().map(|rows| self.oldest_inputs[rows].iter().flatten().min().copied()).collect();
        self
    }
}

impl ByRequest {
    /// Makes one row of those of each request, output by output.
    pub fn nest(
        &self,
        columns: &mut [ArrayRef],
        statuses: &mut [Vec<Status>],
        filled_by: &mut [Arc<[FilledBy]>],
        event_times: &mut [Arc<[Option<i64>]>],
    ) {
        columns.iter_mut().for_each(|column| *column = self.lists(column));
        statuses.iter_mut().for_each(|statuses| *statuses = self.status(statuses));
        filled_by.iter_mut().for_each(|filled| *filled = self.filled_by(filled).into());
        event_times.iter_mut().for_each(|times| *times = self.event_time(times).into());
    }

    /// The rows of each request.
    pub fn ranges(&self) -> impl Iterator<Item = Range<usize>> {
        self.counts.iter().scan(0, |first, counts| {
            let rows = *first..*first + counts.answered as usize;
            *first = rows.end;
            Some(rows)
        })
    }

    /// The least of the times of a request's candidates that have one, µs.
    pub fn oldest(&self, rows: &[Option<i64>]) -> Vec<Option<i64>> {
        self.ranges().map(|range| rows[range].iter().flatten().min().copied()).collect()
    }

    /// Values of rows as a list for each request.
    pub fn lists(&self, rows: &ArrayRef) -> ArrayRef {
        let lengths = OffsetBuffer::from_lengths(self.counts.iter().map(|counts| counts.answered as usize));
        Arc::new(ListArray::new(element(rows.data_type()), lengths, Arc::clone(rows), None))
    }

    /// The first status that holds of any candidate of a request; PRESENT where it has none.
    pub fn status(&self, rows: &[Status]) -> Vec<Status> {
        self.ranges().map(|range| rows[range].iter().min().copied().unwrap_or(Status::Present)).collect()
    }

    /// What filled anything of a request.
    pub fn filled_by(&self, rows: &[FilledBy]) -> Vec<FilledBy> {
        let any = |range: Range<usize>| rows[range].iter().find(|by| **by != FilledBy::None).copied().unwrap_or(FilledBy::None);
        self.ranges().map(any).collect()
    }

    /// The least of the times of a request's candidates, µs.
    pub fn event_time(&self, rows: &[Option<i64>]) -> Vec<Option<i64>> {
        self.ranges().map(|range| rows[range].iter().min().copied().flatten()).collect()
    }
}

fn element(data_type: &DataType) -> Arc<Field> {
    Arc::new(Field::new_list_field(data_type.clone(), true))
}
