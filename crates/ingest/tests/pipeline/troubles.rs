//! The kinds of fault that users of other feature stores report, each with its smallest input and the right answer: `tests/golden/troubles/NAME.txt`.
//!
//! A case is a definition, files, and questions with their answers, parted by lines that start with `== `: `== t.csv` begins a file, `== answers` the questions. A
//! question is an object of the entity's keys and of `at`, the moment. The files of a case are brought in as history and, where they are
//! NDJSON, as a log, line by line, in their order and backwards; a replay is asked as well. All must give the answers, whatever the machine's time zone is. `BLESS=1` writes what
//! is answered; read it in the diff.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit, TimestampMicrosecondType};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use lockstep_ingest::offline::{Files, replay};
use lockstep_ingest::pipeline::Target;
use lockstep_ingest::source::{Format, ReadRequest, SourceFile, SourceReader, SourceSchema, Stores, zone::Zone};
use lockstep_model::{StateRead, Status};
use lockstep_store::{OnlineStore, Store};
use lockstep_transform::tiles::{Request, Shape};

use crate::support::Project;

/// Time zones in which the corpus is run.
const ZONES: [&str; 4] = ["UTC", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia"];

struct Case {
    path: PathBuf,
    definition: String,
    files: Vec<(String, String)>,
    questions: Vec<String>,
    answers: String,
}

fn cases() -> Vec<Case> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/troubles");
    let mut paths: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(Case::read).collect()
}

impl Case {
    fn read(path: PathBuf) -> Case {
        let text = fs::read_to_string(&path).unwrap();
        let mut parts = text.split("\n== ");
        let definition = parts.next().unwrap().to_owned();
        let mut files: Vec<(String, String)> = Vec::new();
        for part in parts {
            let (name, text) = part.split_once('\n').unwrap_or((part, ""));
            // A part ends with its last line; the line break before the next one's title is not lost.
            let text = if text.is_empty() || text.ends_with('\n') { text.to_owned() } else { format!("{text}\n") };
            files.push((name.to_owned(), text));
        }
        let (last, answers) = files.pop().unwrap();
        assert_eq!(last, "answers", "{} ends with its answers", path.display());
        let questions = answers.lines().filter(|line| line.starts_with('{'));
        let questions = questions.filter_map(|line| Some(line.split_once('}')?.0.to_owned() + "}")).collect();
        Case { path, definition, files, questions, answers }
    }

    /// What is answered, which must be the same in every way of bringing the files in.
    fn answered(&self) -> String {
        let files: Vec<(&str, &[u8])> = self.files.iter().map(|(name, text)| (name.as_str(), text.as_bytes())).collect();
        let project = Project::of(&self.definition, &files);
        let name = self.path.display();
        let history = self.of_history(&project, usize::MAX);
        assert_eq!(self.of_history(&project, 0), history, "{name}: commit by commit");
        if self.files.iter().all(|(file, _)| file.ends_with(".ndjson")) {
            assert_eq!(self.of_log(&project), history, "{name}: as a log");
            for (file, text) in &self.files {
                let backwards: Vec<&str> = text.lines().rev().collect();
                project.write(file, backwards.join("\n"));
            }
            assert_eq!(self.of_history(&project, usize::MAX), history, "{name}: backwards");
            assert_eq!(self.of_log(&project), history, "{name}: as a log, backwards");
        }
        history
    }

    fn of_history(&self, project: &Project, memory: usize) -> String {
        let (store, target) = project.unpublished();
        project.backfill(&store, &target, memory, false).unwrap();
        self.ask(project, &store, &target)
    }

    fn of_log(&self, project: &Project) -> String {
        let (store, target) = project.published();
        for (file, _) in &self.files {
            project.stream_file(file, &store, &target, 1, Shape { leaf_rows_max: 1, buffer_rows_max: 0 }, &Arc::default());
        }
        self.ask(project, &store, &target)
    }

    fn ask(&self, project: &Project, store: &Store, target: &Target) -> String {
        let cut = OnlineStore::cut(store);
        let files = Files { base: project.dir().to_owned(), stores: Stores::local(), kafka: None, push: None };
        let replayed = replay(project.catalog(), target, &*cut, &files, Shape::default()).unwrap();
        let answers = self.answers_of(project, target, &cut.state(target.generation.generation));
        assert_eq!(self.answers_of(project, target, &replayed.state), answers, "{}: replayed", self.path.display());
        answers
    }

    fn answers_of(&self, project: &Project, target: &Target, state: &dyn StateRead) -> String {
        let view = &target.view;
        let (keys, moments) = self.asked(&view.entity);
        let keys = view.entity_keys(&keys).unwrap();
        let requests: Vec<Request<'_>> = moments.iter().enumerate().map(|(row, &at)| Request { entity: keys.get(row), at }).collect();
        let features = view.read_at(state, &requests, project.catalog().time_mode(view), None).unwrap();
        let options = FormatOptions::new().with_null("NULL");
        let mut told = String::new();
        for (row, question) in self.questions.iter().enumerate() {
            let value = |(at, field): (usize, &Arc<Field>)| {
                let text = ArrayFormatter::try_new(&features.columns[at], &options).unwrap().value(row).to_string().replace('\0', "\\0");
                let status = features.statuses[at][row];
                let status = if status == Status::Present { String::new() } else { format!(" {status}") };
                format!("{}: {text}{status}", field.name())
            };
            let values: Vec<String> = view.features.fields().iter().enumerate().map(value).collect();
            told += &format!("{question} -> {}\n", values.join(", "));
        }
        let types: Vec<String> = view.features.fields().iter().map(|field| format!("{} {}", field.name(), field.data_type())).collect();
        told + &format!("types: {}\n", types.join(", "))
    }

    /// The key columns and the moments of all questions, read as rows are.
    fn asked(&self, entity: &[Arc<Field>]) -> (Vec<arrow::array::ArrayRef>, Vec<i64>) {
        let at = Arc::new(Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true));
        let fields: Vec<Arc<Field>> = entity.iter().cloned().chain([at]).collect();
        let schema = SourceSchema {
            name: "questions".to_owned(),
            event_time: entity.len(),
            columns: Arc::new(Schema::new(fields)),
            primary_key: Vec::new(),
            time_zone: Zone::Utc,
        };
        let text = std::io::Cursor::new(self.questions.join("\n") + "\n");
        let mut reader = SourceReader::open(&SourceFile::stream("-", text), ReadRequest::new(schema, Format::Ndjson)).unwrap();
        let batch = reader.next_chunk().unwrap().unwrap().batches.remove(0);
        assert_eq!(batch.bad, [], "{}", self.path.display());
        let (at, keys) = batch.batch.columns().split_last().unwrap();
        (keys.to_vec(), arrow::array::AsArray::as_primitive::<TimestampMicrosecondType>(at).values().to_vec())
    }
}

#[test]
fn what_went_wrong_elsewhere_is_right_here() {
    let bless = std::env::var_os("BLESS").is_some();
    let mut wrong = Vec::new();
    for case in cases() {
        let answered = case.answered();
        if bless {
            let text = fs::read_to_string(&case.path).unwrap();
            let (before, _) = text.split_once("== answers\n").unwrap();
            fs::write(&case.path, format!("{before}== answers\n{answered}")).unwrap();
        } else if answered != case.answers {
            wrong.push(format!("{} is now answered\n{answered}", case.path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}\nBLESS=1 writes what is answered; read it in the diff", wrong.join("\n"));
}

#[test]
fn the_time_zone_of_the_machine_says_nothing() {
    for zone in ZONES {
        let mut child = Command::new(std::env::current_exe().unwrap());
        let child = child.args(["--exact", "troubles::what_went_wrong_elsewhere_is_right_here", "--nocapture"]).env("TZ", zone).env_remove("BLESS");
        let output = child.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "TZ={zone}: {said}");
    }
}
