//! Where ONNX Runtime's library is, and the one environment that a process has of it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use ort::environment::Environment;

use super::guarded;
use crate::Runtime;
use crate::load::Refusal;
use crate::runtime::caught;

/// Names the library's place.
const VARIABLE: &str = "LOCKSTEP_ONNXRUNTIME";

/// The library, if it is in one of its places: where the variable says, beside the binary, or where the script puts it.
pub(crate) fn find() -> Result<PathBuf, Refusal> {
    let named = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
    search(named, &places()).map_err(|reason| Refusal::new(Runtime::OnnxRuntime, reason))
}

fn search(named: Option<PathBuf>, places: &[PathBuf]) -> Result<PathBuf, String> {
    let remedy = "`scripts/onnxruntime.sh` fetches it";
    if let Some(path) = named {
        return if path.is_file() { Ok(path) } else { Err(format!("there is no library at `{}`, where {VARIABLE} says; {remedy}", path.display())) };
    }
    places.iter().find(|place| place.is_file()).cloned().ok_or_else(|| {
        let looked: Vec<String> = places.iter().map(|place| format!("`{}`", place.display())).collect();
        format!("its library is not there: looked for {}; {remedy}, {VARIABLE} says where it is", looked.join(" and "))
    })
}

fn places() -> Vec<PathBuf> {
    let name = format!("{}onnxruntime{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let beside = std::env::current_exe().ok().and_then(|binary| binary.parent().map(Path::to_path_buf));
    let fetched = std::env::home_dir().map(|home| home.join(".cache/lockstep/onnxruntime"));
    beside.into_iter().chain(fetched).map(|place| place.join(&name)).collect()
}

/// The environment, made when it is first asked for. Another one in this process is not possible: what was wrong once stays wrong.
pub(super) fn environment() -> Result<&'static Environment, String> {
    static ENVIRONMENT: OnceLock<Result<Environment, String>> = OnceLock::new();
    ENVIRONMENT.get_or_init(make).as_ref().map_err(Clone::clone)
}

fn make() -> Result<Environment, String> {
    let path = find().map_err(|refusal| refusal.reason)?;
    let unusable = |reason: String| format!("its library at `{}` cannot be used: {reason}", path.display());
    // An error of ort's own is made by the library too, which is not there yet.
    let builder = caught(|| ort::init_from(&path).map_err(|error| error.to_string())).map_err(unusable)?;
    // What it has to say comes as errors of what was called.
    let silent: ort::logging::LoggerFunction = Arc::new(|_, _, _, _, _| {});
    guarded(|| builder.with_name("lockstep").with_telemetry(false).with_logger(silent).build()).map_err(unusable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_not_there_is_told_with_the_way_to_get_it() {
        let place = PathBuf::from("/nowhere/libonnxruntime.so");
        assert_eq!(
            search(None, std::slice::from_ref(&place)).unwrap_err(),
            "its library is not there: looked for `/nowhere/libonnxruntime.so`; `scripts/onnxruntime.sh` fetches it, LOCKSTEP_ONNXRUNTIME says where it is"
        );
        assert_eq!(
            search(Some(place), &[]).unwrap_err(),
            "there is no library at `/nowhere/libonnxruntime.so`, where LOCKSTEP_ONNXRUNTIME says; `scripts/onnxruntime.sh` fetches it"
        );
    }
}
