//! The table of model kinds and runtimes.

use std::path::PathBuf;

use lockstep_score::{Model, ModelFile, Runtime, Tensor, chosen, load, sample, smoke};

use crate::stored::{Nearness, as_rows, nearness, stored};
use crate::{has_onnx_runtime, models, read};

const RUNTIMES: [Runtime; 3] = [Runtime::Trees, Runtime::Tract, Runtime::OnnxRuntime];

/// A model, and what became of it on each runtime.
struct Row {
    kind: String,
    chosen: String,
    cells: Vec<String>,
    notes: Vec<String>,
}

fn kinds() -> Vec<String> {
    let mut kinds: Vec<String> = std::fs::read_dir(models())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "onnx"))
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    kinds.sort();
    kinds
}

fn file(kind: &str, extension: &str) -> PathBuf {
    models().join(format!("{kind}.{extension}"))
}

fn row(kind: &str) -> Row {
    let model = read(&file(kind, "onnx")).unwrap();
    let mut row = Row { kind: kind.to_owned(), chosen: String::new(), cells: Vec::new(), notes: Vec::new() };
    row.chosen = chosen(&model, None).map_or_else(|_| "none".to_owned(), |runtime| runtime.to_string());
    for runtime in RUNTIMES {
        let cell = match load(&model, Some(runtime)) {
            Ok(loaded) => agreement(kind, &model, &*loaded),
            Err(error) => {
                row.notes.push(format!("{kind}: {}", error.refusals[0]));
                "refused".to_owned()
            }
        };
        row.cells.push(cell);
    }
    row
}

/// Whether a runtime says what is stored; and that it says so of each row whatever stands beside it.
fn agreement(kind: &str, file: &ModelFile, model: &dyn Model) -> String {
    let stored = stored(&self::file(kind, "json"));
    let inputs: Vec<Tensor> = stored.inputs.into_iter().zip(model.inputs()).map(|(tensor, port)| as_rows(tensor, port)).collect();
    let outputs = run(model, &inputs);
    for (port, output) in model.outputs().iter().zip(&outputs) {
        let width: Vec<Option<usize>> = output.shape[1..].iter().map(|width| Some(*width)).collect();
        assert_eq!((&port.width, port.element), (&width, output.values.element()), "{kind}: {port:?}");
    }
    assert_eq!(model.outputs().iter().map(|port| &port.name).collect::<Vec<_>>(), file.outputs().iter().map(|port| &port.name).collect::<Vec<_>>());
    alone_and_together(kind, model, &inputs, &outputs);
    match nearness(&outputs, &stored.outputs) {
        Nearness::Equal => "equal".to_owned(),
        Nearness::Near(_) => "near".to_owned(),
        Nearness::Far(why) => format!("far ({why})"),
    }
}

fn run(model: &dyn Model, inputs: &[Tensor]) -> Vec<Tensor> {
    model.session().unwrap().run(inputs).unwrap()
}

fn alone_and_together(kind: &str, model: &dyn Model, inputs: &[Tensor], outputs: &[Tensor]) {
    let rows = inputs[0].rows();
    for size in [1, 3, 8, 13, 40] {
        for start in (0..rows).step_by(size) {
            let range = start..rows.min(start + size);
            let some: Vec<Tensor> = inputs.iter().map(|input| input.slice(range.clone())).collect();
            for (own, all) in run(model, &some).iter().zip(outputs) {
                assert!(own.same(&all.slice(range.clone())), "{kind} on {}: rows {range:?} are others alone than among {rows}", model.runtime());
            }
        }
    }
    // More rows than any block: each again and again.
    let many: Vec<Tensor> = inputs.iter().map(|input| repeated(input, 7)).collect();
    for (own, all) in run(model, &many).iter().zip(outputs) {
        assert!(own.same(&repeated(all, 7)), "{kind} on {}: rows are others among {}", model.runtime(), 7 * rows);
    }
}

fn repeated(tensor: &Tensor, times: usize) -> Tensor {
    let mut all = tensor.slice(0..0);
    for _ in 0..times {
        all.values.extend(&tensor.values, 0..tensor.values.len());
    }
    all.shape[0] = times * tensor.rows();
    all
}

fn text(rows: &[Row]) -> String {
    let mut text = String::from(
        "# Model kinds and runtimes. `equal`: in every bit to Python's ONNX Runtime with one thread; `near`: within some last places; `chosen`: where none is named.\n\n",
    );
    text += &format!("{:<30} {:<12} {:<8} {:<8} {}\n", "model", "chosen", "trees", "tract", "onnxruntime");
    for Row { kind, chosen, cells, .. } in rows {
        text += &format!("{kind:<30} {chosen:<12} {:<8} {:<8} {}\n", cells[0], cells[1], cells[2]);
    }
    text += "\n# Why not\n\n";
    text + &rows.iter().flat_map(|row| &row.notes).map(|note| format!("{note}\n")).collect::<String>()
}

#[test]
fn kinds_of_models_on_every_runtime() {
    if !has_onnx_runtime() {
        return;
    }
    let rows: Vec<Row> = kinds().iter().map(|kind| row(kind)).collect();
    let said = text(&rows);
    println!("{said}");
    let path = models().join("../table.txt");
    if std::env::var_os("LOCKSTEP_BLESS").is_some() {
        std::fs::write(path, said).unwrap();
        return;
    }
    assert_eq!(said, std::fs::read_to_string(path).unwrap_or_default(), "LOCKSTEP_BLESS=1 writes what is said; read it in the diff");
}

#[test]
fn trees_need_no_library_to_be_equal() {
    let mut equal = 0;
    for kind in kinds() {
        let file = read(&file(&kind, "onnx")).unwrap();
        if let Ok(model) = load(&file, Some(Runtime::Trees)) {
            assert_eq!(agreement(&kind, &file, &*model), "equal", "{kind}");
            equal += 1;
        }
    }
    assert!(equal >= 20, "{equal} kinds of trees");
}

#[test]
fn a_forced_runtime_refuses_with_its_reason() {
    let file = read(&file("sklearn_logistic", "onnx")).unwrap();
    let error = load(&file, Some(Runtime::Trees)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no runtime runs the model · trees: it does not know the operator ai.onnx.ml.LinearClassifier · export it with operators that one of them knows"
    );
    assert_eq!(error.refusals[0].operator.as_deref(), Some("ai.onnx.ml.LinearClassifier"));
}

#[test]
fn ports_are_what_the_file_says() {
    let file = read(&file("sklearn_forest_text", "onnx")).unwrap();
    let inputs: Vec<String> = file.inputs().iter().map(|port| format!("{} {} {}", port.name, port.element, port.dimensions())).collect();
    let outputs: Vec<String> =
        file.outputs().iter().map(|port| format!("{} {} {} {:?}", port.name, port.element, port.dimensions(), port.labels)).collect();
    assert_eq!(inputs, ["x float32 [?, 6]"]);
    assert_eq!(outputs, ["output_label string [?] None", "output_probability float32 [?, 3] Some([\"early\", \"late\", \"never\"])"]);
    assert_eq!(file.opsets()["ai.onnx.ml"], 1);
    assert_eq!(file.sha256().len(), 64);
}

#[test]
fn a_model_is_smoke_run() {
    if !has_onnx_runtime() {
        return;
    }
    let file = read(&file("sklearn_one_hot", "onnx")).unwrap();
    smoke(&file, 20).unwrap();
    assert_eq!(sample(file.inputs(), 2, 0).len(), 2);
}
