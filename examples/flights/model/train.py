"""Trains the models of the flights demo on a training set that `lockstep train` made, and writes them as ONNX files."""

import argparse
import shutil
from pathlib import Path

import duckdb
import lightgbm
import numpy as np
import onnx
import onnxmltools
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxmltools.convert.common.data_types import FloatTensorType
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

TREES = {"n_estimators": 200, "max_depth": 6, "num_leaves": 31, "learning_rate": 0.05, "min_child_samples": 200, "subsample": 0.8, "subsample_freq": 1,
         "colsample_bytree": 0.6, "random_state": 2013, "deterministic": True, "force_row_wise": True, "n_jobs": 2, "verbose": -1}

# What has a value for every flight, or a default: the fallback answers where others are missing.
SIMPLE = ["distance_km", "scheduled_hour", "origin_departures_1h", "origin_avg_delay_1h", "plane_avg_delay_last_10", "plane_hours_since_departure"]

OPSET, ML_OPSET, IR = 15, 3, 8


def read(connection, directory, features):
    """The features of a training set as a model is given them, and the labels."""
    files = f"read_parquet('{directory}/part-*.parquet')"
    columns = connection.sql(f"SELECT {', '.join(f'{name}::FLOAT AS {name}' for name in features)}, late FROM {files}").fetchnumpy()
    values = [np.ma.filled(np.ma.asarray(columns[name], dtype=np.float32), np.nan) for name in features]
    return np.column_stack(values).astype(np.float32), np.asarray(columns["late"]).astype(np.int64)


def features_of(connection, directory):
    manifest = connection.sql(f"SELECT unnest(columns, recursive := true) FROM read_json('{directory}/manifest.json', maximum_object_size = 134217728)")
    return [name for name, role in manifest.project("name, role").fetchall() if role == "feature"]


def trees(values, labels):
    """Boosted trees of all features, which may be missing."""
    return lightgbm.LGBMClassifier(**TREES).fit(values, labels)


def trees_file(model, width):
    types = [("features", FloatTensorType([None, width]))]
    file = onnxmltools.convert_lightgbm(model, initial_types=types, zipmap=True, target_opset=OPSET)
    return smaller(file)


def smaller(file):
    """Without the attributes that only say what is so by default."""
    for node in file.graph.node:
        for attribute in [a for a in node.attribute if a.name == "nodes_hitrates"]:
            node.attribute.remove(attribute)
    return file


def simple_file(model, means, scales):
    """A logistic regression in operators that every runtime has: what scales its inputs is put into its weights."""
    weights = (model.coef_[0] / scales).astype(np.float32).reshape(-1, 1)
    bias = np.asarray([model.intercept_[0] - float((model.coef_[0] * means / scales).sum())], dtype=np.float32)
    nodes = [
        helper.make_node("Gemm", ["features", "weights", "bias"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["probability"]),
        helper.make_node("Greater", ["probability", "half"], ["label"]),
    ]
    constants = [numpy_helper.from_array(array, name) for name, array in [("weights", weights), ("bias", bias), ("half", np.asarray([0.5], dtype=np.float32))]]
    takes = [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["rows", len(weights)])]
    gives = [helper.make_tensor_value_info("label", TensorProto.BOOL, ["rows", 1]), helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["rows", 1])]
    graph = helper.make_graph(nodes, "late_simple", takes, gives, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)


def run(file, values, output):
    """What ONNX Runtime makes of the file: what was trained is what is deployed."""
    session = onnxruntime.InferenceSession(file.SerializeToString(), providers=["CPUExecutionProvider"])
    given = session.run([output], {"features": values})[0]
    return np.asarray([row[1] for row in given]) if isinstance(given, list) else np.asarray(given)[:, -1]


def write(file, path):
    file.producer_version = file.doc_string = ""
    onnx.checker.check_model(file)
    path.write_bytes(file.SerializeToString(deterministic=True))
    return path.stat().st_size


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--learn", type=Path, required=True, help="the training set to learn from")
    arguments.add_argument("--ask", type=Path, required=True, help="the one to evaluate on")
    arguments.add_argument("--out", type=Path, required=True, help="where the files go")
    wanted = arguments.parse_args()
    connection = duckdb.connect()
    features = features_of(connection, wanted.learn)
    assert features == features_of(connection, wanted.ask)
    (values, labels), (asked, late) = (read(connection, directory, features) for directory in [wanted.learn, wanted.ask])

    boosted = trees_file(trees(values, labels), len(features))
    at = [features.index(name) for name in SIMPLE]
    few, few_asked = np.ascontiguousarray(values[:, at]), np.ascontiguousarray(asked[:, at])
    means, scales = few.mean(axis=0, dtype=np.float64), few.std(axis=0, dtype=np.float64)
    logistic = simple_file(LogisticRegression(max_iter=1000).fit((few - means) / scales, labels), means, scales)

    wanted.out.mkdir(parents=True, exist_ok=True)
    print(f"{len(labels):,} flights to learn from, {100 * labels.mean():.1f} % of them late; {len(late):,} to be asked about, {100 * late.mean():.1f} %")
    for name, file, rows, output in [("late_v1", boosted, asked, "probabilities"), ("late_simple", logistic, few_asked, "probability")]:
        size = write(file, wanted.out / f"{name}.onnx")
        print(f"{name}: {rows.shape[1]} features, AUC {roc_auc_score(late, run(file, rows, output)):.4f}, {size:,} bytes")
    shutil.copyfile(wanted.learn / "manifest.json", wanted.out / "delay_v1.training.json")


if __name__ == "__main__":
    main()
