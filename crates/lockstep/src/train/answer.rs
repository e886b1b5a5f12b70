//! Features of a spine's rows, from histories in memory.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array, new_empty_array};
use arrow::compute::{CastOptions, cast_with_options, concat, take};
use arrow::datatypes::{DataType, FieldRef, Fields, SchemaRef};
use lockstep_ingest::offline::training::Histories;
use lockstep_model::key::Keys;
use lockstep_model::{Clock, Error, FilledBy, Fingerprint, Status, TimeMode};
use lockstep_transform::catalog::{Catalog, SourcePlan};
use lockstep_transform::service::{ByRequest, ServicePlan};
use lockstep_transform::tiles::Request;
use lockstep_transform::transformation::{Features, Transformation};

use super::spine::SpineRows;
use crate::verify::same_at;

/// What a training set is made of: a service, or a view by itself.
#[derive(Debug)]
pub struct Asked {
    /// Its name.
    pub name: String,
    what: What,
    /// The distinct views that are read.
    pub views: Vec<Arc<Transformation>>,
}

#[derive(Debug)]
enum What {
    Service(Arc<ServicePlan>),
    View(Arc<Transformation>),
}

/// The features of some rows.
#[derive(Debug)]
pub struct Answered {
    /// One column per feature.
    pub columns: Vec<ArrayRef>,
    /// Per feature and row.
    pub statuses: Vec<Vec<Status>>,
    /// Per feature and row.
    pub filled_by: Vec<Arc<[FilledBy]>>,
    /// Per row: when the oldest thing happened that its features are made from, µs; `None` where there is nothing behind them.
    pub oldest_inputs: Vec<Option<i64>>,
    /// Per row: whether an event counts that is of the same moment, or the row's own where keys tell.
    pub own: Own,
    /// How long each unit of work took, µs.
    pub units: Vec<u64>,
}

/// Rows whose own event may be among those that count.
#[derive(Debug, Clone)]
pub struct Own {
    /// Per row.
    pub counted: Vec<bool>,
    /// The columns by which an event is told to be a row's own; empty where it is only of the same entity and moment.
    pub key: Vec<String>,
}

impl Answered {
    /// No rows, of features of these types.
    pub fn none(types: &[DataType]) -> Answered {
        Answered {
            columns: types.iter().map(new_empty_array).collect(),
            statuses: vec![Vec::new(); types.len()],
            filled_by: types.iter().map(|_| Arc::from([])).collect(),
            oldest_inputs: Vec::new(),
            own: Own { counted: Vec::new(), key: Vec::new() },
            units: Vec::new(),
        }
    }

    /// These rows, and others behind them.
    ///
    /// # Errors
    /// Internal where they are of other features.
    pub fn and(self, after: &Answered) -> Result<Answered, Error> {
        let column = |(column, after): (&ArrayRef, &ArrayRef)| {
            concat(&[&**column, &**after]).map_err(|error| Error::internal("rows of the same features").caused_by(error))
        };
        let filled = |(filled, after): (&Arc<[FilledBy]>, &Arc<[FilledBy]>)| filled.iter().chain(after.iter()).copied().collect();
        Ok(Answered {
            columns: self.columns.iter().zip(&after.columns).map(column).collect::<Result<_, _>>()?,
            statuses: self.statuses.iter().zip(&after.statuses).map(|(own, after)| [&own[..], after].concat()).collect(),
            filled_by: self.filled_by.iter().zip(&after.filled_by).map(filled).collect(),
            oldest_inputs: [&self.oldest_inputs[..], &after.oldest_inputs].concat(),
            own: Own { counted: [&self.own.counted[..], &after.own.counted].concat(), key: self.own.key },
            units: [&self.units[..], &after.units].concat(),
        })
    }

    /// Some rows that follow each other.
    pub fn slice(&self, rows: Range<usize>) -> Answered {
        Answered {
            columns: self.columns.iter().map(|column| column.slice(rows.start, rows.len())).collect(),
            statuses: self.statuses.iter().map(|statuses| statuses[rows.clone()].to_vec()).collect(),
            filled_by: self.filled_by.iter().map(|filled| filled[rows.clone()].into()).collect(),
            oldest_inputs: self.oldest_inputs[rows.clone()].to_vec(),
            own: Own { counted: self.own.counted[rows].to_vec(), key: self.own.key.clone() },
            units: Vec::new(),
        }
    }

    /// Some rows.
    ///
    /// # Errors
    /// Where a kernel fails.
    pub fn take(&self, rows: &UInt32Array) -> Result<Answered, Error> {
        let of = |column: &ArrayRef| take(column, rows, None).map_err(|error| Error::internal("a kernel refused features").caused_by(error));
        let numbers = || rows.values().iter().map(|&row| row as usize);
        Ok(Answered {
            columns: self.columns.iter().map(of).collect::<Result<_, _>>()?,
            statuses: self.statuses.iter().map(|statuses| numbers().map(|row| statuses[row]).collect()).collect(),
            filled_by: self.filled_by.iter().map(|filled| numbers().map(|row| filled[row]).collect()).collect(),
            oldest_inputs: numbers().map(|row| self.oldest_inputs[row]).collect(),
            own: Own { counted: numbers().map(|row| self.own.counted[row]).collect(), key: self.own.key.clone() },
            units: Vec::new(),
        })
    }
}

impl Asked {
    /// Finds a service or view.
    ///
    /// # Errors
    /// NotFound for a name that is neither.
    pub fn new(catalog: &Catalog, name: &str) -> Result<Asked, Error> {
        let what = match (catalog.services.get(name), catalog.views.get(name)) {
            (Some(service), _) => What::Service(Arc::clone(service)),
            (None, Some(view)) => What::View(Arc::clone(view)),
            // Says so.
            (None, None) => return Err(crate::requests::columns(catalog, name).err().unwrap_or_else(|| Error::not_found(name.to_owned()))),
        };
        let mut views: BTreeMap<&str, &Arc<Transformation>> = BTreeMap::new();
        match &what {
            What::Service(service) => views.extend(service.joins.iter().map(|join| (join.view.as_str(), &join.transformation))),
            What::View(view) => views.extend([(view.view.as_str(), view)]),
        }
        let views = views.into_values().cloned().collect();
        Ok(Asked { name: name.to_owned(), what, views })
    }

    /// What it is asked with.
    pub fn request(&self) -> Fields {
        match &self.what {
            What::Service(service) => service.request.fields().clone(),
            What::View(view) => view.entity.iter().cloned().collect(),
        }
    }

    /// Names and types of the features.
    pub fn features(&self) -> SchemaRef {
        match &self.what {
            What::Service(service) => service.schema_by_request(),
            What::View(view) => Arc::clone(&view.features),
        }
    }

    /// Fingerprint of what it means.
    pub fn meaning(&self) -> Fingerprint {
        match &self.what {
            What::Service(service) => service.meaning,
            What::View(view) => view.meaning,
        }
    }

    /// The time in which it is read unless told otherwise.
    pub fn time(&self, catalog: &Catalog) -> TimeMode {
        match &self.what {
            What::Service(service) => catalog.service_time_mode(service),
            What::View(view) => catalog.time_mode(view),
        }
    }

    /// The view whose key is what it is asked with, so that its entities are all that can be asked for.
    pub fn entity_view(&self) -> Option<&Arc<Transformation>> {
        let request = self.request();
        self.views.iter().find(|view| {
            let same = |(a, b): (&FieldRef, &FieldRef)| a.name() == b.name() && a.data_type() == b.data_type();
            view.entity.len() == request.len() && view.entity.iter().zip(&request).all(same)
        })
    }

    /// Whether a row has candidates, of which each is read for.
    pub fn has_candidates(&self) -> bool {
        matches!(&self.what, What::Service(service) if service.candidates.is_some())
    }

    /// The source that a request is the next event of, where it is.
    pub fn request_as(&self) -> Option<&str> {
        match &self.what {
            What::Service(service) => service.request_as.as_ref().map(|of| of.source.name.as_str()),
            What::View(_) => None,
        }
    }

    /// The features of some rows of a spine.
    ///
    /// # Errors
    /// Where stored events cannot be decoded.
    pub fn answer(&self, histories: &Histories, catalog: &Catalog, rows: &SpineRows, time: TimeMode, clock: &dyn Clock) -> Result<Answered, Error> {
        let (mut answered, by_request) = self.answer_rows(histories, catalog, rows, time, clock)?;
        if let Some(by) = by_request {
            by.nest(&mut answered.columns, &mut answered.statuses, &mut answered.filled_by, &mut []);
            answered.oldest_inputs = by.oldest(&answered.oldest_inputs);
        }
        Ok(answered)
    }

    /// As [`Self::answer`], with a row for each candidate, and which of them are of which row of the spine.
    ///
    /// # Errors
    /// As [`Self::answer`].
    pub fn answer_rows(
        &self,
        histories: &Histories,
        catalog: &Catalog,
        rows: &SpineRows,
        time: TimeMode,
        clock: &dyn Clock,
    ) -> Result<(Answered, Option<Arc<ByRequest>>), Error> {
        let count = rows.moments.len();
        let mut units = Vec::new();
        let mut own = OwnEvents { histories, catalog, rows, time, same_moment: vec![false; count], counted: None, key: Vec::new() };
        let mut read = |view: &Arc<Transformation>, requests: &[Request<'_>], is_of_rows: bool| -> Result<Features, Error> {
            let (features, times) = histories.features(&view.view, requests, time, clock)?;
            units.extend(times.0);
            if is_of_rows {
                own.look(view, requests, &features.newest)?;
            }
            Ok(features)
        };
        let mut by_request = None;
        let (columns, statuses, filled_by, oldest_inputs) = match &self.what {
            What::Service(service) => {
                // What is read of candidates is of no row by itself, and a row's own event is none of theirs.
                let of_rows = service.candidates.as_ref().map_or(service.joins.len(), |candidates| candidates.joins_before);
                let mut read_join = |at: usize, requests: &[Request<'_>]| read(&service.joins[at].transformation, requests, at < of_rows);
                let answer = service.answer_spine(&mut read_join, &rows.request, &rows.moments)?;
                by_request = answer.by_request;
                (answer.columns, answer.statuses, answer.filled_by, answer.oldest_inputs)
            }
            What::View(view) => {
                let keys = view.entity_keys(rows.request.columns())?;
                let requests: Vec<Request<'_>> = rows.moments.iter().enumerate().map(|(row, &at)| Request { entity: keys.get(row), at }).collect();
                let features = read(view, &requests, true)?;
                let none: Arc<[FilledBy]> = vec![FilledBy::None; count].into();
                let (filled_by, oldest) = (vec![none; features.columns.len()], view.oldest_inputs(&features, &requests));
                (features.columns, features.statuses, filled_by, oldest)
            }
        };
        Ok((Answered { columns, statuses, filled_by, oldest_inputs, own: own.finish(), units }, by_request))
    }
}

/// Finds rows whose own event counts.
struct OwnEvents<'a> {
    histories: &'a Histories,
    catalog: &'a Catalog,
    rows: &'a SpineRows,
    time: TimeMode,
    same_moment: Vec<bool>,
    counted: Option<Vec<bool>>,
    key: Vec<String>,
}

impl OwnEvents<'_> {
    fn look(&mut self, view: &Transformation, requests: &[Request<'_>], newest: &[Option<i64>]) -> Result<(), Error> {
        if view.frames.iter().any(|frame| frame.ends_before == 0) {
            let moments = requests.iter().zip(newest);
            self.same_moment.iter_mut().zip(moments).for_each(|(same, (request, newest))| *same |= *newest == Some(request.at));
        }
        for source in self.catalog.sources_of(view) {
            let Some(keys) = primary_keys(source, &self.rows.rows) else { continue };
            let found = self.histories.counted(&view.view, &source.name, requests, &keys, self.time)?;
            let counted = self.counted.get_or_insert_with(|| vec![false; found.len()]);
            counted.iter_mut().zip(found).for_each(|(counted, found)| *counted |= found);
            self.key = source.primary_key.iter().map(|&at| source.schema.field(at).name().clone()).collect();
        }
        Ok(())
    }

    fn finish(self) -> Own {
        Own { counted: self.counted.unwrap_or(self.same_moment), key: self.key }
    }
}

/// The primary key of a source that each row of a spine has, where the spine has all of its columns.
fn primary_keys(source: &SourcePlan, rows: &RecordBatch) -> Option<Keys> {
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    let column = |&at: &usize| {
        let field = source.schema.field(at);
        cast_with_options(rows.column_by_name(field.name())?, field.data_type(), &strict).ok()
    };
    let columns: Vec<ArrayRef> = source.primary_key.iter().map(column).collect::<Option<_>>()?;
    Keys::encode(&columns).ok()
}

/// How many values differ between two answers to the same rows, per feature.
pub fn differing(a: &Answered, b: &Answered) -> Vec<u64> {
    let of = |feature: usize| {
        let (x, y) = (&a.columns[feature], &b.columns[feature]);
        (0..x.len()).filter(|&row| a.statuses[feature][row] != b.statuses[feature][row] || !same_at(x, row, y, row)).count() as u64
    };
    (0..a.columns.len()).map(of).collect()
}
