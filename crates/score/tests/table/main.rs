//! Models of many exporters on every runtime, beside what Python's ONNX Runtime said of the same rows.
//!
//! `../models` has the models, made by `make.py`; more lie beside a checkout, in `../shared/data`. Where ONNX Runtime's library is absent, what needs it says so and passes, unless
//! `LOCKSTEP_REQUIRE_ONNXRUNTIME` is set; so with the models beside the checkout and `LOCKSTEP_REQUIRE_PEERS`.

mod broken;
mod build;
mod inflate;
mod kinds;
mod library;
mod peers;
mod random;
mod stored;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use lockstep_score::{ModelFile, Runtime, chosen};

/// Where the models are.
fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models")
}

fn read(path: &Path) -> Result<ModelFile, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    ModelFile::read(&bytes).map_err(|error| error.to_string())
}

/// Whether ONNX Runtime is there; said once where it is not.
fn has_onnx_runtime() -> bool {
    static HAS: LazyLock<bool> = LazyLock::new(|| {
        let file = read(&models().join("torch_mlp.onnx")).unwrap();
        let Err(error) = chosen(&file, Some(Runtime::OnnxRuntime)) else { return true };
        assert!(std::env::var_os("LOCKSTEP_REQUIRE_ONNXRUNTIME").is_none(), "{error}");
        println!("onnxruntime: left out, {error}");
        false
    });
    *HAS
}
