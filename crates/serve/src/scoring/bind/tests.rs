//! What is said of files that do not go with definitions, and how rows go in and come out of those that do.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, ListArray, StringArray};
use arrow::datatypes::Float64Type;
use lockstep_score::{Element, Model, Port, RunError, Runtime, Session, Tensor, Values};
use lockstep_transform::catalog::Catalog;
use lockstep_transform::definition::{Definitions, Diagnostic, SourceFile, Style};
use serde_json::{Value, json};

use super::{Bound, Loaded};

/// A model that is nothing but its ports.
#[derive(Debug)]
struct Ports {
    inputs: Vec<Port>,
    outputs: Vec<Port>,
}

impl Model for Ports {
    fn runtime(&self) -> Runtime {
        Runtime::Trees
    }

    fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    fn session(&self) -> Result<Box<dyn Session>, RunError> {
        Err(RunError::Inputs("it runs nothing".to_owned()))
    }
}

fn port(name: &str, element: Element, width: &[Option<usize>]) -> Port {
    Port { name: name.to_owned(), element, width: width.to_vec(), labels: None }
}

fn classes() -> Vec<Port> {
    let probabilities = Port { labels: Some(vec!["0".to_owned(), "1".to_owned()]), ..port("probabilities", Element::Float32, &[Some(2)]) };
    vec![port("label", Element::Int64, &[]), probabilities]
}

const SERVICE: &str = "
CREATE FEATURE SERVICE delay AS
SELECT r.distance, r.flights, r.carrier, r.rainy, r.taste, one_hot(r.carrier, 'UA', 'AA', 'DL') AS carrier_is
FROM REQUEST (distance DOUBLE, flights BIGINT, carrier VARCHAR, rainy BOOLEAN, taste DOUBLE[]) r;
";

fn catalog(model: &str) -> Catalog {
    let sql = format!("{SERVICE}{model}");
    Catalog::compile(Definitions::parse(&[SourceFile::new("m.sql", sql)]).unwrap()).unwrap()
}

fn bind(model: &str, inputs: Vec<Port>, outputs: Vec<Port>) -> Result<Bound, Vec<Diagnostic>> {
    bind_trained(&catalog(model), inputs, outputs, None)
}

fn bind_trained(catalog: &Catalog, inputs: Vec<Port>, outputs: Vec<Port>, training: Option<&[u8]>) -> Result<Bound, Vec<Diagnostic>> {
    let (_, model) = catalog.definitions.models.first().unwrap();
    let loaded = Loaded { sha256: "ab".repeat(32), bytes: 7, operators: Vec::new(), model: Arc::new(Ports { inputs, outputs }) };
    Bound::of(model, loaded, &catalog.services["delay"], training)
}

/// What is said of a model, without the marked text.
fn said(result: Result<Bound, Vec<Diagnostic>>) -> String {
    let one = |diagnostic: Diagnostic| {
        let text = diagnostic.render(Style::Plain);
        let about = text.lines().filter(|line| line.starts_with("error:") || line.trim().starts_with("= ")).map(str::trim);
        about.collect::<Vec<_>>().join("\n")
    };
    result.unwrap_err().into_iter().map(one).collect::<Vec<_>>().join("\n")
}

#[test]
fn inputs_of_other_names_and_widths_are_told_by_column() {
    let one = |width: usize| vec![port("features", Element::Float32, &[Some(width)])];
    let model = "CREATE MODEL late FROM 'late.onnx' USING delay (features => (distance, flights, rainy)) PREDICT (label BIGINT);";
    assert!(bind(model, one(3), classes()).is_ok());
    assert_eq!(
        said(bind(model, one(2), classes())),
        "error: `rainy` is too many: input `features` takes 2 values a row, and its features are 3\n\
         = note: features: distance, flights, rainy\n\
         = help: leave out what the model was not trained on"
    );
    assert_eq!(
        said(bind(model, one(4), classes())),
        "error: input `features` takes 4 values a row, and its features are 3\n\
         = note: features: distance, flights, rainy\n\
         = help: name them all, in the order of training"
    );
    let misspelt = model.replace("features =>", "feature =>");
    assert_eq!(
        said(bind(&misspelt, one(3), classes())),
        "error: `late.onnx` has no input `feature`\n\
         = note: inputs of the file: features float32[rows, 3]\n\
         = help: did you mean features?\n\
         error: nothing goes into input `features` of `late.onnx`\n\
         = note: inputs of the file: features float32[rows, 3]\n\
         = help: name its features: features => (…)"
    );
}

#[test]
fn types_that_an_input_has_not_are_told_with_what_to_write() {
    let model = |features: &str| format!("CREATE MODEL late FROM 'late.onnx' USING delay (x => ({features})) PREDICT (label BIGINT);");
    let input = |element, width: usize| vec![port("x", element, &[Some(width)])];
    assert_eq!(
        said(bind(&model("distance, carrier"), input(Element::Float32, 2), classes())),
        "error: feature `carrier` is of type VARCHAR, and input `x` takes float32\n\
         = help: let the service give hash_bucket(…, 64) or one_hot(…, 'a', 'b') AS carrier, or export the model with an input of strings"
    );
    assert_eq!(
        said(bind(&model("distance"), input(Element::Int64, 1), classes())),
        "error: feature `distance` is of type DOUBLE, and input `x` takes int64\n\
         = help: let the service give CAST(… AS BIGINT) AS distance: nothing is rounded on the way"
    );
    assert_eq!(
        said(bind(&model("flights"), input(Element::Text, 1), classes())),
        "error: feature `flights` is of type BIGINT, and input `x` takes string\n\
         = help: let the service give CAST(… AS VARCHAR) AS flights, as the model was trained on it"
    );
    assert_eq!(
        said(bind(&model("flights"), input(Element::Bool, 1), classes())),
        "error: feature `flights` is of type BIGINT, and input `x` takes bool\n\
         = help: let the service give a condition AS flights, such as x > 0"
    );
    for (features, element, width) in [("carrier", Element::Text, 1), ("flights, rainy", Element::Int32, 2), ("rainy", Element::Bool, 1)] {
        assert!(bind(&model(features), input(element, width), classes()).is_ok(), "{features}");
    }
}

#[test]
fn a_list_is_as_long_as_its_input_leaves() {
    let model = |features: &str| format!("CREATE MODEL late FROM 'late.onnx' USING delay (x => ({features})) PREDICT (label BIGINT);");
    let input = |width: &[Option<usize>]| vec![port("x", Element::Float32, width)];
    let widths = |bound: Bound| bound.inputs[0].features.iter().map(|feature| feature.values).collect::<Vec<_>>();
    assert_eq!(widths(bind(&model("distance, taste"), input(&[Some(5)]), classes()).unwrap()), [1, 4]);
    assert_eq!(widths(bind(&model("distance, carrier_is"), input(&[None]), classes()).unwrap()), [1, 3]);
    assert_eq!(widths(bind(&model("taste"), input(&[Some(2), Some(3)]), classes()).unwrap()), [6]);
    assert_eq!(
        said(bind(&model("distance, taste"), input(&[None]), classes())),
        "error: how long the list `taste` is cannot be told\n\
         = note: input `x` of the file is of any width\n\
         = help: export the model with an input of fixed width for each list, or give it [x, y, z] or one_hot(…)"
    );
    assert_eq!(
        said(bind(&model("carrier_is"), input(&[Some(2)]), classes())),
        "error: `carrier_is` is too many: input `x` takes 2 values a row, and its features are 3\n\
         = note: features: carrier_is (3 values)\n\
         = help: leave out what the model was not trained on"
    );
    assert_eq!(
        said(bind(&model("taste"), input(&[None, Some(3)]), classes())),
        "error: input `x` leaves several lengths open: float32[rows, ?, 3]\n\
         = note: features of a row have one length\n\
         = help: export the model with fixed lengths, all but the first"
    );
}

#[test]
fn predictions_are_values_of_the_outputs_that_there_are() {
    let model = |predictions: &str| format!("CREATE MODEL late FROM 'late.onnx' USING delay (x => (distance)) PREDICT ({predictions});");
    let bind = |predictions: &str| bind(&model(predictions), vec![port("x", Element::Float32, &[Some(1)])], classes());
    assert_eq!(
        said(bind("p DOUBLE FROM probability['1']")),
        "error: `late.onnx` has no output `probability`\n\
         = note: outputs of the file: label int64[rows], probabilities float32[rows, 2]\n\
         = help: did you mean probabilities?"
    );
    assert_eq!(
        said(bind("p DOUBLE FROM probabilities")),
        "error: output `probabilities` gives several values a row, float32[rows, 2], and prediction `p` is one\n\
         = note: labels: '0', '1'\n\
         = help: say which: p FROM probabilities['1'], or take all as a list"
    );
    assert_eq!(
        said(bind("p DOUBLE FROM probabilities['late']")),
        "error: output `probabilities` has no label 'late'\n\
         = note: labels: '0', '1'"
    );
    assert_eq!(
        said(bind("p DOUBLE FROM probabilities[2]")),
        "error: output `probabilities` has no value at 2: float32[rows, 2]\n\
         = note: positions begin with 0\n\
         = help: write one that is there, such as probabilities['1']"
    );
    assert_eq!(
        said(bind("p BIGINT FROM probabilities[1]")),
        "error: prediction `p` is declared BIGINT, and output `probabilities` gives float32\n\
         = help: write p DOUBLE"
    );
    assert!(
        bind("a DOUBLE FROM probabilities['1'], b REAL FROM probabilities[0], c DOUBLE[] FROM probabilities, label BOOLEAN, d INT FROM label")
            .is_ok()
    );
}

fn manifest(catalog: &Catalog) -> Value {
    let service = &catalog.services["delay"];
    json!({
        "job": {"name": "delay", "meaning": service.meaning.to_string(), "views": []},
        "created_at": "2024-03-08T12:00:00Z", "digest": "d", "parts": [],
        "columns": [
            {"name": "at", "type": "TIMESTAMP", "role": "timestamp"},
            {"name": "distance", "type": "DOUBLE", "role": "feature"},
            {"name": "rainy", "type": "BOOLEAN", "role": "feature"},
        ],
        "report": {"rows": 10, "features": [{"name": "distance", "summary": {"count": 9, "mean": 4.5}, "profile": {"count": "AA=="}}]},
    })
}

#[test]
fn features_mean_what_they_meant_in_the_training_set() {
    let model = "CREATE MODEL late FROM 'late.onnx' USING delay (x => (distance)) PREDICT (label BIGINT) WITH (training_set = 'manifest.json');";
    let catalog = catalog(model);
    let bind = |manifest: &Value, width: usize| {
        bind_trained(&catalog, vec![port("x", Element::Float32, &[Some(width)])], classes(), Some(&serde_json::to_vec(manifest).unwrap()))
    };
    let good = manifest(&catalog);
    let bound = bind(&good, 1).unwrap();
    let trained = bound.training.unwrap();
    assert_eq!((trained.rows, trained.features.len(), trained.features[0].summary.mean), (10, 2, Some(4.5)));
    // Which feature of the training set is missing is said where the width does not fit.
    assert_eq!(
        said(bind(&good, 2)),
        "error: input `x` takes 2 values a row, and its features are 1\n\
         = note: features: distance\n\
         = note: features of the training set that no input takes: rainy\n\
         = help: add rainy"
    );
    let with = |pointer: &str, value: Value| {
        let mut manifest = good.clone();
        *manifest.pointer_mut(pointer).unwrap() = value;
        manifest
    };
    let now = catalog.services["delay"].meaning.short();
    assert_eq!(
        said(bind(&with("/job/meaning", json!("0".repeat(64))), 1)),
        format!(
            "error: `late` was made for delay as of meaning 000000000000, and the definition now means {now}\n\
             = note: its views mean what they meant; delay itself is another\n\
             = help: train again (`lockstep train delay …`), or keep what was trained on under its own name, beside the new delay"
        )
    );
    let views = json!({"name": "delay", "meaning": "0".repeat(64), "views": [{"view": "airport_load", "meaning": "1".repeat(64)}]});
    assert!(said(bind(&with("/job", views), 1)).contains("= note: views that changed: airport_load\n"));
    assert!(
        said(bind(&with("/job/name", json!("other")), 1))
            .starts_with("error: the training set is of `other`, and the model takes features of `delay`\n")
    );
    assert_eq!(
        said(bind(&with("/columns/1/type", json!("BIGINT")), 1)),
        "error: feature `distance` is of type DOUBLE, and was BIGINT in the training set\n\
         = help: train again, or let the service give the former type"
    );
    assert!(said(bind(&with("/columns/1/role", json!("carried")), 1)).starts_with("error: feature `distance` is not in the training set\n"));
    assert!(said(bind(&json!({"rows": 3}), 1)).starts_with("error: this is no manifest of a training set\n"));
}

#[test]
fn a_fingerprint_says_what_a_model_was_trained_on() {
    let meaning = catalog("").services["delay"].meaning.to_string();
    let model = |features: &str| {
        format!("CREATE MODEL late FROM 'late.onnx' USING delay (x => (distance)) PREDICT (label BIGINT) WITH (features = '{features}');")
    };
    let bind = |features: &str| bind(&model(features), vec![port("x", Element::Float32, &[Some(1)])], classes());
    assert!(bind(&meaning).is_ok() && bind(&meaning[..12]).is_ok());
    let said = said(bind(&"0".repeat(12)));
    assert!(said.starts_with("error: `late` was trained on features of another meaning than delay has now\n"), "{said}");
    assert!(said.ends_with(&format!("= help: train again and write features = '{}'", &meaning[..12])), "{said}");
}

#[test]
fn rows_go_in_and_predictions_come_out_as_they_were_asked_for() {
    let model = "CREATE MODEL late FROM 'late.onnx' USING delay (numbers => (distance, carrier_is), words => (carrier), counts => (flights))
        PREDICT (p DOUBLE FROM probabilities['1'], is_late BOOLEAN FROM label, both DOUBLE[] FROM probabilities);";
    let inputs = vec![port("words", Element::Text, &[Some(1)]), port("numbers", Element::Float32, &[Some(4)]), port("counts", Element::Int32, &[])];
    let bound = bind(model, inputs, classes()).unwrap();
    assert_eq!(bound.columns(), [0, 1, 2, 5]);
    let distance: ArrayRef = Arc::new(Float64Array::from(vec![Some(0.1), None, Some(-0.0), Some(4.0)]));
    let flights: ArrayRef = Arc::new(Int64Array::from(vec![Some(7), Some(8), Some(1 << 40), Some(9)]));
    let carrier: ArrayRef = Arc::new(StringArray::from(vec![Some("UA"), None, Some("DL"), Some("XX")]));
    let rainy: ArrayRef = Arc::new(BooleanArray::from(vec![true; 4]));
    let taste: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(vec![None::<Vec<Option<f64>>>; 4]));
    let one_hot = |values: [Option<[f32; 3]>; 4]| -> ArrayRef {
        let lists = values.map(|value| value.map(|value| value.map(Some)));
        Arc::new(ListArray::from_iter_primitive::<arrow::datatypes::Float32Type, _, _>(lists))
    };
    let is = one_hot([Some([1.0, 0.0, 0.0]), None, Some([0.0, 0.0, 1.0]), Some([0.0; 3])]);
    let inputs = bound.tensors(&[distance, flights, carrier, rainy, taste, is]).unwrap();
    assert_eq!(inputs.rows, [0, 3]);
    assert_eq!(
        inputs.left_out,
        [
            (1, "feature `carrier` is NULL, which input `words` of type string has not".to_owned()),
            (2, format!("feature `flights` is {}, which input `counts` of type int32 has not", 1_i64 << 40)),
        ]
    );
    assert_eq!(inputs.tensors[0], Tensor { shape: vec![2, 1], values: Values::Text(vec!["UA".to_owned(), "XX".to_owned()]) });
    assert_eq!(inputs.tensors[1], Tensor { shape: vec![2, 4], values: Values::Float32(vec![0.1, 1.0, 0.0, 0.0, 4.0, 0.0, 0.0, 0.0]) });
    assert_eq!(inputs.tensors[2], Tensor { shape: vec![2], values: Values::Int32(vec![7, 9]) });

    let outputs = |labels: Vec<i64>| {
        let probabilities = Values::Float32(vec![0.75, 0.25, 0.5, 0.5]);
        [Tensor { shape: vec![2], values: Values::Int64(labels) }, Tensor { shape: vec![2, 2], values: probabilities }]
    };
    let predictions = bound.predictions(&outputs(vec![0, 1]), &inputs).unwrap();
    let (p, is_late): (ArrayRef, ArrayRef) = (
        Arc::new(Float64Array::from(vec![Some(0.25), None, None, Some(0.5)])),
        Arc::new(BooleanArray::from(vec![Some(false), None, None, Some(true)])),
    );
    let both = [Some(vec![Some(0.75), Some(0.25)]), None, None, Some(vec![Some(0.5), Some(0.5)])];
    let both: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(both));
    assert_eq!(predictions, [p, is_late, both]);
    assert_eq!(
        bound.predictions(&outputs(vec![0, 2]), &inputs).unwrap_err().to_string(),
        "model `late` gave 2, which is neither true nor false, for prediction `is_late` · its file says otherwise · look at the file, and export it again"
    );
    assert!(bound.predictions(&outputs(vec![0, 1, 1]), &inputs).is_err());
    assert!(bound.predictions(&[], &inputs).is_err());
}
