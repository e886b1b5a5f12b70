//! What a project names: definitions, models, topics, a registry.

use lockstep_ingest::kafka::{Probed, Settings, probe, probe_registry};
use lockstep_transform::catalog::Catalog;
use lockstep_transform::definition::KafkaTopic;

use super::Check;
use crate::project::{Project, compile};
use crate::text::counted;
use crate::verbs::check;

/// Looks at all of them.
pub fn look(project: &Project, checks: &mut Vec<Check>) {
    let Some(catalog) = definitions(project, checks) else { return };
    match check::beside(&catalog, project) {
        Ok(models) if models.is_empty() => {}
        Ok(models) => {
            let names: Vec<String> = models.iter().map(|model| format!("{} on {}", model.name, model.runtime)).collect();
            checks.push(Check::ok("models", names.join(", ")));
        }
        Err(wrong) => checks.extend(wrong.first().map(|first| Check::fail("models", format!("{first} · `lockstep check` shows all of it")))),
    }
    topics(project, &catalog, checks);
    serving(project, checks);
}

fn definitions(project: &Project, checks: &mut Vec<Check>) -> Option<Catalog> {
    let files = match project.files() {
        Ok(files) => files,
        Err(error) => {
            checks.push(Check::fail("definitions", error));
            return None;
        }
    };
    match compile(&files) {
        Ok(catalog) => {
            let [sources, views] = [counted(catalog.sources.len(), "source", "sources"), counted(catalog.views.len(), "view", "views")];
            checks.push(Check::ok("definitions", format!("{sources} and {views} in {}", counted(files.len(), "file", "files"))));
            Some(catalog)
        }
        Err(wrong) => {
            let first = wrong.first().map(ToString::to_string).unwrap_or_default();
            checks.push(Check::fail("definitions", format!("{first} · `lockstep check` shows all of it")));
            None
        }
    }
}

fn topics(project: &Project, catalog: &Catalog, checks: &mut Vec<Check>) {
    let topics: Vec<(&String, &KafkaTopic)> =
        catalog.sources.iter().filter_map(|(name, source)| Some((name, source.options.topic.as_ref()?))).collect();
    if topics.is_empty() {
        return;
    }
    let settings = match project.kafka() {
        Ok(settings) => settings,
        Err(error) => return checks.push(Check::fail("kafka", error)),
    };
    for (source, topic) in topics {
        let what = format!("topic {}", topic.name);
        match probe(&settings, topic) {
            Ok(Probed { partitions, .. }) => {
                checks.push(Check::ok(what, format!("{} for source {source}", counted(partitions, "partition", "partitions"))))
            }
            Err(error) => checks.push(Check::fail(what, error)),
        }
        registry(&settings, topic, checks);
    }
}

fn registry(settings: &Settings, topic: &KafkaTopic, checks: &mut Vec<Check>) {
    let of_topic = |place: &str| Check::ok("schema registry", format!("{place} answers"));
    match probe_registry(settings, topic) {
        Ok(None) => {}
        // One registry for many topics is one line.
        Ok(Some(place)) if checks.contains(&of_topic(&place)) => {}
        Ok(Some(place)) => checks.push(of_topic(&place)),
        Err(error) => checks.push(Check::fail("schema registry", error)),
    }
}

/// Whether a server could listen and let people in.
fn serving(project: &Project, checks: &mut Vec<Check>) {
    let serve = &project.config.serve;
    let found = serve.address().and_then(|address| serve.security(&project.dir).map(|security| (address, security)));
    checks.push(match found {
        Ok((address, security)) => Check::ok("[serve]", format!("{address}, {}", counted(security.tokens.len(), "token", "tokens"))),
        Err(error) => Check::fail("[serve]", error),
    });
}
