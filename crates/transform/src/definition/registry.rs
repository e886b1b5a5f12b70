//! All files together: names that are there once, and definitions checked in the order of what needs what.

use std::collections::HashMap;
use std::sync::Arc;

use super::candidates::check_fallbacks;
use super::ddl::{Body, Written, parse};
use super::deployment::{self, WrittenDeployment, deployment};
use super::lex::statements;
use super::model::{self, model};
use super::predictions::{self, check_deployments, predictions};
use super::relation::Sources;
use super::service::{self, WrittenService, service};
use super::source::{entity, source};
use super::text::Origin;
use super::view::{self, WrittenView, view};
use super::{Definitions, Diagnostic, SourceFile};

impl Definitions {
    /// Reads and checks all files of a project together.
    ///
    /// # Errors
    ///
    /// Everything wrong with them, in the order of the files and of the places in each.
    pub fn parse(files: &[SourceFile]) -> Result<Definitions, Vec<Diagnostic>> {
        let files: Vec<Arc<SourceFile>> = files.iter().cloned().map(Arc::new).collect();
        let mut found = Vec::new();
        let written = unique(read(&files, &mut found), &mut found);
        let definitions = check(&written, &mut found);
        if found.is_empty() {
            return Ok(definitions);
        }
        let rank = |diagnostic: &Diagnostic| files.iter().position(|file| Arc::ptr_eq(file, &diagnostic.file));
        found.sort_by_key(|diagnostic| (rank(diagnostic), diagnostic.span));
        found.dedup();
        Err(found)
    }
}

fn read(files: &[Arc<SourceFile>], found: &mut Vec<Diagnostic>) -> Vec<Written> {
    let mut written = Vec::new();
    for file in files {
        match statements(file) {
            Ok(statements) => {
                for statement in statements {
                    match parse(statement) {
                        Ok(definition) => written.push(definition),
                        Err(diagnostic) => found.push(diagnostic),
                    }
                }
            }
            Err(diagnostic) => found.push(diagnostic),
        }
    }
    written
}

impl Written {
    fn kind(&self) -> &'static str {
        match self.body {
            Body::Entity { .. } => "entity",
            Body::Source { .. } => "source",
            Body::View { .. } => "feature view",
            Body::Service { .. } => "feature service",
            Body::Model(_) => "model",
            Body::Deployment { .. } => "deployment",
            Body::Predictions(_) => "set of predictions",
        }
    }

    fn origin(&self) -> Origin {
        self.statement.origin.at(self.name.span)
    }
}

/// The first definition of each name. Entities have a space of names of their own; all else shares one, since it can be asked for by its name alone.
fn unique(written: Vec<Written>, found: &mut Vec<Diagnostic>) -> Vec<Written> {
    let mut seen: HashMap<(bool, String), usize> = HashMap::new();
    let mut kept: Vec<Written> = Vec::new();
    for definition in written {
        let key = (matches!(definition.body, Body::Entity { .. }), definition.name.text.to_lowercase());
        let Some(first) = seen.get(&key).and_then(|index| kept.get(*index)) else {
            seen.insert(key, kept.len());
            kept.push(definition);
            continue;
        };
        let (kind, name) = (definition.kind(), &definition.name.text);
        let title = match (first.kind() == kind, first.name.text == *name) {
            (true, true) => format!("{kind} `{name}` is defined twice"),
            (false, true) => format!("{kind} `{name}` has the name of a {}", first.kind()),
            (_, false) => format!("{kind} `{name}` differs from {} `{}` by case alone", first.kind(), first.name.text),
        };
        let note = format!("{} `{}` is defined at {}", first.kind(), first.name.text, first.origin().display());
        found.push(definition.origin().error(title).note(note).help("give one of them another name, or remove it"));
    }
    kept
}

fn check(written: &[Written], found: &mut Vec<Diagnostic>) -> Definitions {
    let mut definitions = Definitions::default();
    let names = |kind: &str| written.iter().filter(|one| one.kind() == kind).map(|one| one.name.text.as_str()).collect::<Vec<_>>();
    let (entity_names, source_names) = (names("entity"), names("source"));
    // Predictions are joined like any view.
    let view_names = [names("feature view"), names("set of predictions")].concat();
    let others: Vec<(&str, &'static str)> =
        written.iter().filter(|one| !matches!(one.body, Body::Source { .. })).map(|one| (one.name.text.as_str(), one.kind())).collect();
    for one in written {
        let Written { statement, name, body } = one;
        match body {
            Body::Entity { columns } => {
                definitions.entities.extend(entity(statement, name, columns, found).map(|entity| (entity.name.clone(), entity)));
            }
            Body::Source { columns, options } => {
                definitions.sources.extend(source(statement, name, columns, options, found).map(|source| (source.name.clone(), source)));
            }
            Body::View { .. } | Body::Service { .. } | Body::Model(_) | Body::Deployment { .. } | Body::Predictions(_) => {}
        }
    }
    for one in written {
        if let Body::View { entity, options, query, tokens } = &one.body {
            let sources = Sources { good: &definitions.sources, all: &source_names, others: &others };
            let known = view::Known { entities: &definitions.entities, entity_names: &entity_names, sources };
            let written = WrittenView { statement: &one.statement, name: &one.name, entity, options, query, tokens };
            definitions.views.extend(view(&written, &known, found).map(|view| (view.name.clone(), view)));
        }
    }
    // No view reads their events, and no request is one of them: they join the sources at the end.
    let mut predicted = Vec::new();
    for one in written {
        if let Body::Predictions(body) = &one.body {
            let known = predictions::Known { entities: &definitions.entities, entity_names: &entity_names };
            if let Some(made) = predictions(&one.statement, &one.name, body, &known, found) {
                let name = made.predictions.name.clone();
                definitions.views.insert(name.clone(), made.view);
                definitions.predictions.insert(name, made.predictions);
                predicted.push(made.source);
            }
        }
    }
    for one in written {
        if let Body::Service { options, request, query, .. } = &one.body {
            let sources = Sources { good: &definitions.sources, all: &source_names, others: &others };
            let known = service::Known { entities: &definitions.entities, views: &definitions.views, view_names: &view_names, sources };
            let written = WrittenService { statement: &one.statement, name: &one.name, options, request, query };
            definitions.services.extend(service(&written, &known, found).map(|service| (service.name.clone(), service)));
        }
    }
    check_fallbacks(&definitions.services, &names("feature service"), found);
    definitions.sources.extend(predicted.into_iter().map(|source| (source.name.clone(), source)));
    scoring(written, &mut definitions, found);
    check_deployments(&definitions, &names("deployment"), found);
    definitions
}

/// Checks models and deployments, which need all that is checked before.
fn scoring(written: &[Written], definitions: &mut Definitions, found: &mut Vec<Diagnostic>) {
    let names = |kind: &str| written.iter().filter(|one| one.kind() == kind).map(|one| one.name.text.as_str()).collect::<Vec<_>>();
    let (service_names, model_names) = (names("feature service"), names("model"));
    for Written { statement, name, body } in written {
        if let Body::Model(body) = body {
            let known = model::Known { services: &definitions.services, service_names: &service_names };
            definitions.models.extend(model(statement, name, body, &known, found).map(|model| (model.name.clone(), model)));
        }
    }
    for Written { statement, name, body } in written {
        if let Body::Deployment { steps, options } = body {
            let known = deployment::Known { services: &definitions.services, models: &definitions.models, model_names: &model_names };
            let written = WrittenDeployment { statement, name, steps, options };
            definitions.deployments.extend(deployment(&written, &known, found).map(|deployment| (deployment.name.clone(), deployment)));
        }
    }
}
