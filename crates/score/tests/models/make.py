"""Makes the models that the tests run, with the rows that go in and what Python's ONNX Runtime says of them.

    python3 -m venv target/venv && target/venv/bin/pip install -r requirements.txt && target/venv/bin/python make.py

Those of PyTorch are exported by torch_export.py before. Each model is a file of its own, NAME.onnx, and beside it NAME.json has the inputs and outputs, floats by their bits. Rows are
at random, and then such as are awkward: exactly at thresholds, missing, infinite, zero of both signs.
"""

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

warnings.filterwarnings("ignore")

make_attribute = helper.make_attribute


def with_plain_numbers(key, value, *rest, **more):
    """skl2onnx gives truth values where the messages of this protobuf take numbers."""
    if isinstance(value, (list, np.ndarray)):
        value = [int(each) if isinstance(each, (bool, np.bool_)) else each for each in value]
    return make_attribute(key, value, *rest, **more)


helper.make_attribute = with_plain_numbers
HERE = Path(__file__).parent
ROWS = 48
FEATURES = 6


def random(seed):
    return np.random.default_rng(seed)


def features(seed, rows=400, width=FEATURES):
    """Small numbers, many of them equal, so that thresholds are met exactly."""
    return (random(seed).integers(-40, 40, size=(rows, width)) / 8).astype(np.float32)


def classes(x, count):
    score = x[:, 0] * 1.5 - x[:, 1] + np.sin(x[:, 2]) * 2 + (x[:, 3] > 1) * 1.5
    edges = np.quantile(score, np.linspace(0, 1, count + 1)[1:-1])
    return np.digitize(score, edges)


def target(x):
    return (x[:, 0] * 1.5 - x[:, 1] ** 2 / 4 + np.sin(x[:, 2]) * 2 + (x[:, 3] > 1) * 1.5).astype(np.float32)


def thresholds(model):
    """Of the trees of a graph, by feature."""
    found = []
    for node in model.graph.node:
        attributes = {attribute.name: attribute for attribute in node.attribute}
        if "nodes_featureids" not in attributes:
            continue
        ids = list(attributes["nodes_featureids"].ints)
        if "nodes_values" in attributes:
            values = list(attributes["nodes_values"].floats)
        else:
            name = "nodes_splits" if "nodes_splits" in attributes else "nodes_values_as_tensor"
            values = list(numpy_helper.to_array(attributes[name].t))
        found += list(zip(ids, values))
    return found


def awkward(model, rows):
    """Rows at thresholds and beside them, and rows with what is no number."""
    rows = rows.copy()
    edges = thresholds(model)
    pick = random(5)
    for at in range(0, len(rows) // 2):
        for _ in range(2):
            if edges:
                feature, value = edges[pick.integers(len(edges))]
                if feature < rows.shape[1]:
                    beside = np.nextafter(rows.dtype.type(value), rows.dtype.type(pick.choice([-np.inf, np.inf])))
                    rows[at, feature] = rows.dtype.type(value) if at % 2 == 0 else beside
    for at, value in enumerate([np.nan, np.inf, -np.inf, 0.0, -0.0, np.nan]):
        rows[len(rows) // 2 + at, at % rows.shape[1]] = value
    rows[-1, :] = np.nan
    rows[-2, :] = -0.0
    return rows


def bits(array):
    array = np.ascontiguousarray(array)
    if array.dtype == np.float32:
        values = [f"{value:08x}" for value in array.view(np.uint32).ravel().tolist()]
    elif array.dtype == np.float64:
        values = [f"{value:016x}" for value in array.view(np.uint64).ravel().tolist()]
    elif array.dtype.kind in "OUS":
        values = [str(value) for value in array.ravel().tolist()]
    else:
        values = array.ravel().tolist()
    kind = {"O": "string", "U": "string", "S": "string"}.get(array.dtype.kind, str(array.dtype))
    return {"type": kind, "shape": list(array.shape), "values": values}


def rows_of_maps(value):
    """A sequence of maps from class to probability as rows."""
    if isinstance(value, list):
        return np.array([[row[key] for key in row] for row in value], dtype=np.float32)
    return np.asarray(value)


def save(name, model, inputs):
    if isinstance(model, onnx.ModelProto):
        # The order of opsets is that of a set, and some exporters name the graph at random.
        opsets = sorted({(opset.domain, opset.version) for opset in model.opset_import}, reverse=True)
        del model.opset_import[:]
        model.opset_import.extend(helper.make_opsetid(*opset) for opset in opsets)
        model.producer_version = ""
        if model.producer_name == "OnnxMLTools":
            model.graph.name = name
        model = model.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    outputs = session.run(None, inputs)
    names = [output.name for output in session.get_outputs()]
    answer = {
        "inputs": [{"name": key, **bits(value)} for key, value in inputs.items()],
        "outputs": [{"name": key, **bits(rows_of_maps(value))} for key, value in zip(names, outputs)],
    }
    (HERE / f"{name}.onnx").write_bytes(model)
    (HERE / f"{name}.json").write_text(json.dumps(answer, separators=(",", ":")) + "\n")
    print(f"{name}: {len(model)} bytes, outputs {[list(rows_of_maps(value).shape) for value in outputs]}")


def sklearn_models():
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, Int64TensorType, StringTensorType
    from sklearn.compose import ColumnTransformer
    from sklearn.decomposition import PCA
    from sklearn.ensemble import (
        ExtraTreesClassifier,
        ExtraTreesRegressor,
        GradientBoostingClassifier,
        GradientBoostingRegressor,
        HistGradientBoostingClassifier,
        HistGradientBoostingRegressor,
        RandomForestClassifier,
        RandomForestRegressor,
        VotingRegressor,
    )
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.naive_bayes import GaussianNB
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, Normalizer, OneHotEncoder, StandardScaler
    from sklearn.svm import LinearSVC
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    x = features(1)
    two, three, real = classes(x, 2), classes(x, 3), target(x)
    fresh = features(2, ROWS)
    single = [("x", FloatTensorType([None, FEATURES]))]
    double = [("x", DoubleTensorType([None, FEATURES]))]
    plain = {"zipmap": False}

    def convert(name, model, y, types=single, rows=fresh, options=None, **given):
        model.fit(x, y)
        made = to_onnx(model, initial_types=types, options={id(model): options} if options else None, target_opset={"": 17, "ai.onnx.ml": 3}, **given)
        if types is double:
            # The operator gives 32-bit floats whatever it is given; skl2onnx says otherwise.
            made.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT
        save(name, made, {"x": awkward(made, rows)})

    small = {"n_estimators": 12, "random_state": 3}
    convert("sklearn_forest_binary", RandomForestClassifier(max_depth=5, **small), two)
    convert("sklearn_forest_classes", RandomForestClassifier(max_depth=4, **small), three, options=plain)
    convert("sklearn_forest_text", RandomForestClassifier(max_depth=4, **small), np.array(["early", "late", "never"])[three])
    convert("sklearn_forest_regressor", RandomForestRegressor(max_depth=6, **small), real)
    convert("sklearn_extra_trees", ExtraTreesClassifier(max_depth=4, **small), two, options=plain)
    convert("sklearn_extra_trees_regressor", ExtraTreesRegressor(max_depth=5, **small), real)
    convert("sklearn_boosting", GradientBoostingClassifier(max_depth=3, **small), two, options=plain)
    convert("sklearn_boosting_classes", GradientBoostingClassifier(max_depth=2, **small), three, options=plain)
    convert("sklearn_boosting_regressor", GradientBoostingRegressor(max_depth=3, **small), real)
    convert("sklearn_hist", HistGradientBoostingClassifier(max_iter=10, max_leaf_nodes=8, random_state=3), two, options=plain)
    convert("sklearn_hist_regressor", HistGradientBoostingRegressor(max_iter=10, max_leaf_nodes=8, random_state=3), real)
    convert("sklearn_tree", DecisionTreeClassifier(max_depth=9, random_state=3), two)
    convert("sklearn_tree_double", DecisionTreeRegressor(max_depth=6, random_state=3), real, types=double, rows=fresh.astype(np.float64))
    convert("sklearn_forest_double", RandomForestRegressor(max_depth=5, **small), real, types=double, rows=fresh.astype(np.float64))
    numbers = (x * 8).astype(np.int64)
    model = RandomForestClassifier(max_depth=4, **small).fit(numbers, two)
    made = to_onnx(model, initial_types=[("x", Int64TensorType([None, FEATURES]))], target_opset={"": 17, "ai.onnx.ml": 3})
    save("sklearn_forest_int64", made, {"x": (fresh * 8).astype(np.int64)})

    mean = np.where(np.isfinite(fresh), fresh, 0)

    def linear(name, model, y, options=None):
        model.fit(x, y)
        made = to_onnx(model, initial_types=single, options={id(model): options} if options else None, target_opset={"": 17, "ai.onnx.ml": 3})
        save(name, made, {"x": mean})

    linear("sklearn_logistic", LogisticRegression(), two)
    linear("sklearn_logistic_classes", LogisticRegression(), three, plain)
    linear("sklearn_linear", LinearRegression(), real)
    linear("sklearn_linear_targets", LinearRegression(), np.stack([real, -real * 2, real + x[:, 1]], axis=1))
    linear("sklearn_logistic_text", LogisticRegression(), np.array(["late", "on time"])[two])
    linear("sklearn_logistic_classes_text", LogisticRegression(), np.array(["early", "late", "never"])[three])
    linear("sklearn_one_vs_rest", OneVsRestClassifier(LogisticRegression()), three, plain)
    linear("sklearn_svc", LinearSVC(), two)
    linear("sklearn_mlp", MLPClassifier(hidden_layer_sizes=(8,), max_iter=40, random_state=3), two, plain)
    linear("sklearn_mlp_regressor", MLPRegressor(hidden_layer_sizes=(8,), max_iter=40, random_state=3), real)
    linear("sklearn_pca_logistic", make_pipeline(MinMaxScaler(), PCA(3), LogisticRegression()), two)
    linear("sklearn_normalized_linear", make_pipeline(Normalizer(), LinearRegression()), real)
    linear("sklearn_bayes", GaussianNB(), two, plain)
    linear("sklearn_nearest", KNeighborsClassifier(3), two, plain)
    linear("sklearn_voting_regressor", VotingRegressor([("a", LinearRegression()), ("b", DecisionTreeRegressor(max_depth=3))]), real)
    linear("sklearn_scaled_logistic", make_pipeline(StandardScaler(), LogisticRegression()), two)
    linear("sklearn_scaled_forest", make_pipeline(StandardScaler(), RandomForestClassifier(max_depth=4, **small)), two)

    holes = x.copy()
    holes[random(7).random(holes.shape) < 0.2] = np.nan
    model = make_pipeline(SimpleImputer(), StandardScaler(), GradientBoostingClassifier(max_depth=3, **small)).fit(holes, two)
    made = to_onnx(model, initial_types=single, target_opset={"": 17, "ai.onnx.ml": 3})
    save("sklearn_imputed_boosting", made, {"x": awkward(made, fresh)})

    import pandas

    carriers = np.array(["AA", "B6", "DL", "UA"])
    frame = pandas.DataFrame({"distance": x[:, 0], "carrier": carriers[random(4).integers(4, size=len(x))]})
    columns = ColumnTransformer([("number", StandardScaler(), ["distance"]), ("text", OneHotEncoder(handle_unknown="ignore"), ["carrier"])])
    model = make_pipeline(columns, LogisticRegression()).fit(frame, two)
    types = [("distance", FloatTensorType([None, 1])), ("carrier", StringTensorType([None, 1]))]
    made = to_onnx(model, initial_types=types, target_opset={"": 17, "ai.onnx.ml": 3})
    columns = ColumnTransformer([("number", StandardScaler(), ["distance"]), ("text", OneHotEncoder(), ["carrier"])])
    strict = make_pipeline(columns, LogisticRegression()).fit(frame, two)
    # Without leave to ignore what is unknown, which is refused then.
    strict = to_onnx(strict, initial_types=types, target_opset={"": 17, "ai.onnx.ml": 3})
    save("sklearn_one_hot_strict", strict, {"distance": fresh[:, :1], "carrier": carriers[random(6).integers(4, size=ROWS)].astype(object).reshape(-1, 1)})
    named = np.append(carriers, "XX")[random(6).integers(5, size=ROWS)].astype(object).reshape(-1, 1)
    save("sklearn_one_hot", made, {"distance": fresh[:, :1], "carrier": named})


def lightgbm_models():
    import lightgbm
    from onnxmltools import convert_lightgbm
    from onnxmltools.convert.common.data_types import FloatTensorType

    x = features(11)
    fresh = features(12, ROWS)
    small = {"n_estimators": 10, "num_leaves": 12, "random_state": 3, "verbose": -1, "n_jobs": 1}

    def convert(name, model, y, rows=fresh, **fit):
        model.fit(x if "x" not in fit else fit.pop("x"), y, **fit)
        made = convert_lightgbm(model, initial_types=[("x", FloatTensorType([None, FEATURES]))], target_opset=15, zipmap="binary" in name)
        save(name, made, {"x": awkward(made, rows)})

    convert("lightgbm_binary", lightgbm.LGBMClassifier(**small), classes(x, 2))
    convert("lightgbm_classes", lightgbm.LGBMClassifier(**small), classes(x, 3))
    convert("lightgbm_regressor", lightgbm.LGBMRegressor(**small), target(x))
    sorts = np.abs(x * 2).astype(np.int32).astype(np.float32)
    named = np.abs(fresh * 2).astype(np.int32).astype(np.float32)
    y = ((sorts[:, 0] % 3 == 1) ^ (sorts[:, 1] > 4)).astype(int)
    convert("lightgbm_categories", lightgbm.LGBMClassifier(min_data_per_group=1, cat_smooth=1, **small), y, named, x=sorts, categorical_feature=[0, 2])
    holes = x.copy()
    holes[random(7).random(holes.shape) < 0.2] = np.nan
    convert("lightgbm_missing", lightgbm.LGBMClassifier(**small), classes(x, 2), x=holes)


def xgboost_models():
    import xgboost
    from onnxmltools import convert_xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType

    x = features(21)
    fresh = features(22, ROWS)
    small = {"n_estimators": 10, "max_depth": 4, "random_state": 3, "n_jobs": 1}

    def convert(name, model, y, rows=fresh, own=x):
        model.fit(own, y)
        made = convert_xgboost(model, initial_types=[("x", FloatTensorType([None, FEATURES]))], target_opset=15)
        save(name, made, {"x": awkward(made, rows)})

    convert("xgboost_binary", xgboost.XGBClassifier(**small), classes(x, 2))
    convert("xgboost_classes", xgboost.XGBClassifier(**small), classes(x, 3))
    convert("xgboost_regressor", xgboost.XGBRegressor(**small), target(x))
    holes = x.copy()
    holes[random(7).random(holes.shape) < 0.2] = np.nan
    convert("xgboost_missing", xgboost.XGBClassifier(**small), classes(x, 2), own=holes)


def torch_models():
    """What torch_export.py has exported, with rows of its inputs."""
    x = features(32, ROWS)
    steps = features(35, ROWS, 8 * 3).reshape(ROWS, 8, 3)
    for row in range(0, ROWS, 3):
        # Of some rows the last steps are not there; of none, all of them.
        steps[row, 8 - row % 7 :] = 0
    inputs = {
        "torch_mlp": {"x": x},
        "torch_mlp_double": {"x": x.astype(np.float64)},
        "torch_embedding": {"carrier": random(33).integers(5, size=ROWS), "x": features(34, ROWS)},
        "torch_deep": {"x": x},
        "torch_heads": {"x": x},
        "torch_towers": {"user": x, "item": features(36, ROWS, 4)},
        "torch_lstm": {"steps": steps},
        "torch_gru": {"steps": steps},
        "torch_attention": {"steps": steps},
        "torch_convolution": {"steps": steps},
    }
    for name, rows in inputs.items():
        save(name, (HERE / f"{name}.onnx").read_bytes(), rows)


def trees_of_five():
    """TreeEnsemble of ai.onnx.ml 5, which exporters do not write yet: all modes, sets, missing values, of both precisions."""
    for kind, name in [(np.float32, "trees_v5"), (np.float64, "trees_v5_double")]:
        pick = random(41)
        nodes = {key: [] for key in ["featureids", "modes", "splits", "truenodeids", "trueleafs", "falsenodeids", "falseleafs", "missing"]}
        leaves, roots, members = [], [], []

        def grow(depth):
            at = len(nodes["modes"])
            for key in nodes:
                nodes[key].append(0)
            mode = int(pick.integers(7))
            nodes["featureids"][at] = int(pick.integers(FEATURES))
            nodes["modes"][at] = mode
            nodes["splits"][at] = float(pick.integers(-40, 40) / 8)
            nodes["missing"][at] = int(pick.integers(2))
            if mode == 6:
                members.extend([float(value) for value in pick.integers(0, 6, size=pick.integers(1, 5))] + [np.nan])
            for side in ["true", "false"]:
                leaf = depth == 0 or pick.random() < 0.15
                nodes[f"{side}leafs"][at] = int(leaf)
                if leaf:
                    leaves.append((int(pick.integers(2)), float(pick.standard_normal())))
                    nodes[f"{side}nodeids"][at] = len(leaves) - 1
                else:
                    nodes[f"{side}nodeids"][at] = grow(depth - 1)
            return at

        for depth in [0, 1, 2, 3, 4, 5, 4, 3, 2, 5, 5]:
            roots.append(grow(depth))
        array = lambda name, values, kind: numpy_helper.from_array(np.array(values, dtype=kind), name)
        node = helper.make_node(
            "TreeEnsemble", ["x"], ["y"], domain="ai.onnx.ml", n_targets=2, aggregate_function=1, post_transform=0, tree_roots=roots,
            nodes_featureids=nodes["featureids"], nodes_modes=array("modes", nodes["modes"], np.uint8), nodes_splits=array("splits", nodes["splits"], kind),
            nodes_truenodeids=nodes["truenodeids"], nodes_trueleafs=nodes["trueleafs"], nodes_falsenodeids=nodes["falsenodeids"],
            nodes_falseleafs=nodes["falseleafs"], nodes_missing_value_tracks_true=nodes["missing"], membership_values=array("members", members, kind),
            leaf_targetids=[target for target, _ in leaves], leaf_weights=array("weights", [weight for _, weight in leaves], kind),
        )
        element = TensorProto.FLOAT if kind == np.float32 else TensorProto.DOUBLE
        value = lambda name, width: helper.make_tensor_value_info(name, element, [None, width])
        graph = helper.make_graph([node], "trees", [value("x", FEATURES)], [value("y", 2)])
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 5)], ir_version=8)
        save(name, made, {"x": awkward(made, features(42, ROWS).astype(kind))})


def wide_inputs():
    """A graph of 64-bit floats, and one that only ONNX Runtime has all operators of."""
    value = lambda name, kind, *shape: helper.make_tensor_value_info(name, kind, [None, *shape])
    held = [numpy_helper.from_array(random(51).standard_normal((FEATURES, 2)), "weights")]
    node = helper.make_node("MatMul", ["x", "weights"], ["y"])
    graph = helper.make_graph([node], "wide", [value("x", TensorProto.DOUBLE, FEATURES)], [value("y", TensorProto.DOUBLE, 2)], held)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    save("double_linear", made, {"x": features(52, ROWS).astype(np.float64)})

    node = helper.make_node("LabelEncoder", ["carrier"], ["code"], domain="ai.onnx.ml", keys_strings=["AA", "B6", "DL"], values_int64s=[3, 5, 7], default_int64=-1)
    graph = helper.make_graph([node], "labels", [value("carrier", TensorProto.STRING, 1)], [value("code", TensorProto.INT64, 1)])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 2)], ir_version=8)
    save("text_codes", made, {"carrier": np.array(["AA", "DL", "", "XX"] * (ROWS // 4), dtype=object).reshape(-1, 1)})


if __name__ == "__main__":
    makers = {"sklearn": sklearn_models, "lightgbm": lightgbm_models, "xgboost": xgboost_models, "torch": torch_models, "five": trees_of_five, "wide": wide_inputs}
    for chosen in sys.argv[1:] or makers:
        makers[chosen]()
