//! What is asked for, found among the definitions.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, FieldRef, Fields, Schema, SchemaRef};
use lockstep_model::Error;
use lockstep_transform::catalog::Catalog;
use lockstep_transform::definition::{sql_name, suggestion};

use crate::wire::encode;

/// Outputs of a service or of views, and what they are asked with.
#[derive(Debug)]
pub struct Wanted {
    name: String,
    fields: Fields,
    /// Of the columns, any of which may have NULLs.
    schema: SchemaRef,
    parts: Vec<Part>,
    outputs: Vec<Output>,
    /// Whether an output is asked for twice.
    repeats: bool,
}

/// A service or view that is asked.
#[derive(Debug)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// Which columns of the request it takes; all of them where absent.
    columns: Option<Vec<usize>>,
}

/// An output that is wanted.
#[derive(Debug)]
pub struct Output {
    /// Its name, as it was asked for.
    pub name: Arc<str>,
    /// What an answer of it begins with on the wire.
    pub head: Arc<[u8]>,
    /// The part it is of.
    pub part: usize,
    /// Its place among the outputs of that.
    pub index: usize,
}

impl Output {
    fn new(name: &str, field: &Field, part: usize, index: usize) -> Result<Output, Error> {
        Ok(Output { name: name.into(), head: encode::head(name, field.data_type())?.into(), part, index })
    }
}

impl Part {
    /// Its columns of a request.
    pub fn rows<'a>(&self, request: &'a RecordBatch) -> Result<Cow<'a, RecordBatch>, Error> {
        match &self.columns {
            None => Ok(Cow::Borrowed(request)),
            Some(columns) => {
                let rows = request.project(columns).map_err(|error| Error::internal("columns as declared").caused_by(error))?;
                Ok(Cow::Owned(rows))
            }
        }
    }
}

impl Wanted {
    /// What a deployment is asked with, whatever is then read for it.
    pub fn asked_with(name: &str, fields: Fields) -> Wanted {
        Wanted::new(name.to_owned(), fields, Vec::new(), Vec::new())
    }

    /// Finds what is asked for: outputs of `name`, or, where that is empty, features of views as `view.feature`.
    ///
    /// # Errors
    /// NotFound for a name that is not there; Invalid where nothing is asked for, or features of views whose keys have columns of one name and two types.
    pub fn find(catalog: &Catalog, name: &str, features: &[String]) -> Result<Wanted, Error> {
        if name.is_empty() {
            return Wanted::of_views(catalog, features);
        }
        let (fields, outputs) = match (catalog.services.get(name), catalog.views.get(name)) {
            (Some(service), _) => (service.request.fields().clone(), &service.schema),
            (None, Some(view)) => (view.entity.iter().cloned().collect(), &view.features),
            (None, None) => return Err(unknown_name(catalog, name)),
        };
        let outputs = if features.is_empty() {
            let all = outputs.fields().iter().enumerate();
            all.map(|(index, field)| Output::new(field.name(), field, 0, index)).collect::<Result<_, _>>()?
        } else {
            let find = |feature: &String| match outputs.index_of(feature) {
                Ok(index) => Output::new(feature, outputs.field(index), 0, index),
                Err(_) => Err(unknown_feature(name, feature, outputs.fields())),
            };
            features.iter().map(find).collect::<Result<_, _>>()?
        };
        Ok(Wanted::new(name.to_owned(), fields, vec![Part { name: name.to_owned(), columns: None }], outputs))
    }

    fn new(name: String, fields: Fields, parts: Vec<Part>, outputs: Vec<Output>) -> Wanted {
        let schema = Arc::new(Schema::new(fields.iter().map(|field| field.as_ref().clone().with_nullable(true)).collect::<Fields>()));
        let mut places: Vec<(usize, usize)> = outputs.iter().map(|output| (output.part, output.index)).collect();
        places.sort_unstable();
        let repeats = places.windows(2).any(|pair| pair[0] == pair[1]);
        Wanted { name, fields, schema, parts, outputs, repeats }
    }

    fn of_views(catalog: &Catalog, features: &[String]) -> Result<Wanted, Error> {
        if features.is_empty() {
            return Err(Error::invalid("nothing is asked for · give `name`, a feature service or view, or `features`, each as view.feature"));
        }
        let (mut fields, mut parts, mut outputs): (Vec<FieldRef>, Vec<Part>, _) = (Vec::new(), Vec::new(), Vec::with_capacity(features.len()));
        for written in features {
            let (view_name, feature) = written.split_once('.').ok_or_else(|| {
                Error::invalid(format!(
                    "`{written}` is no view.feature · give `name` beside `features` to choose among the outputs of one service or view"
                ))
            })?;
            let view = catalog.views.get(view_name).ok_or_else(|| unknown_name(catalog, view_name))?;
            let index = view.features.index_of(feature).map_err(|_| unknown_feature(view_name, feature, view.features.fields()))?;
            let part = match parts.iter().position(|part| part.name == view_name) {
                Some(part) => part,
                None => {
                    let columns = view.entity.iter().map(|key| key_column(&mut fields, key)).collect::<Result<_, _>>()?;
                    parts.push(Part { name: view_name.to_owned(), columns: Some(columns) });
                    parts.len() - 1
                }
            };
            outputs.push(Output::new(written, view.features.field(index), part, index)?);
        }
        Ok(Wanted::new(features.join(", "), fields.into(), parts, outputs))
    }

    /// What it is asked with.
    pub fn fields(&self) -> &Fields {
        &self.fields
    }

    /// The columns that it is asked with, any of which may have NULLs.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Whether an output is asked for twice.
    pub fn repeats(&self) -> bool {
        self.repeats
    }

    /// What is asked.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// What is wanted, in order.
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// What is asked, for counting.
    pub fn name(&self) -> &str {
        match self.parts.as_slice() {
            [part] => &part.name,
            _ => "(views)",
        }
    }

    pub(super) fn unknown_column(&self, name: &str) -> Error {
        let meant = meant(name, self.fields.iter().map(|field| field.name().as_str()));
        Error::invalid(format!("`{}` is not asked with a column `{name}` · it is asked with {}{meant}", self.name, self.declared()))
    }

    pub(super) fn missing_column(&self, field: &FieldRef) -> Error {
        Error::invalid(format!("column `{}` is missing · `{}` is asked with {}", field.name(), self.name, self.declared()))
    }

    fn declared(&self) -> String {
        let columns: Vec<String> = self.fields.iter().map(|field| format!("{} {}", field.name(), sql_name(field.data_type()))).collect();
        if columns.is_empty() { "no columns".to_owned() } else { columns.join(", ") }
    }
}

/// The place of a key's column among those of the request: views that have a column of the same name take the same.
fn key_column(fields: &mut Vec<FieldRef>, key: &FieldRef) -> Result<usize, Error> {
    match fields.iter().position(|field| field.name() == key.name()) {
        Some(at) if fields[at].data_type() == key.data_type() => Ok(at),
        Some(at) => {
            let types = [fields[at].data_type(), key.data_type()].map(sql_name);
            Err(Error::invalid(format!(
                "column `{}` is {} in one of these views and {} in another · ask for them apart, or through a feature service",
                key.name(),
                types[0],
                types[1]
            )))
        }
        None => {
            fields.push(key.clone());
            Ok(fields.len() - 1)
        }
    }
}

fn unknown_name(catalog: &Catalog, name: &str) -> Error {
    let list = |names: Vec<&str>| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let services: Vec<&str> = catalog.services.keys().map(String::as_str).collect();
    let views: Vec<&str> = catalog.views.keys().map(String::as_str).collect();
    let meant = meant(name, services.iter().chain(&views).copied());
    Error::not_found(format!("no feature service or view named `{name}` · services: {} · views: {}{meant}", list(services), list(views)))
}

fn unknown_feature(name: &str, feature: &str, outputs: &Fields) -> Error {
    let known: Vec<&str> = outputs.iter().map(|field| field.name().as_str()).collect();
    let meant = meant(feature, known.iter().copied());
    Error::not_found(format!("`{name}` has no feature `{feature}` · features: {}{meant}", known.join(", ")))
}

fn meant<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    suggestion(name, known).map_or_else(String::new, |near| format!(" · did you mean `{near}`?"))
}
