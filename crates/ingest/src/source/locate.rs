//! From what a definition says to the files it means.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use futures::TryStreamExt;
use glob::{MatchOptions, Pattern};
use lockstep_model::Error;
use object_store::ObjectStore;
use object_store::path::Path as ObjectPath;
use tokio::runtime::Handle;
use url::Url;

use super::error::SourceError;
use super::input::store_error;

/// A wildcard does not reach over a `/`, and a leading dot is named.
const MATCHING: MatchOptions = MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// One file: what it is called, and where it is.
#[derive(Clone)]
pub struct SourceFile {
    name: String,
    place: Place,
}

#[derive(Clone)]
pub(super) enum Place {
    Local(PathBuf),
    Remote { store: Arc<dyn ObjectStore>, path: ObjectPath, runtime: Handle },
    Stream(Arc<Mutex<Option<Box<dyn Read + Send>>>>),
}

impl SourceFile {
    /// A file on disk, called by its path.
    pub fn local(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        SourceFile { name: path.display().to_string(), place: Place::Local(path.to_owned()) }
    }

    /// Bytes that can be read once, under a name of the caller's.
    pub fn stream(name: &str, read: impl Read + Send + 'static) -> Self {
        SourceFile { name: name.to_owned(), place: Place::Stream(Arc::new(Mutex::new(Some(Box::new(read))))) }
    }

    /// Its path as given (`-` for standard input), or its URL: what the partition is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }
}

impl fmt::Debug for SourceFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SourceFile").field(&self.name).finish()
    }
}

/// The object stores that locations may name, and the runtime that their requests run on.
#[derive(Clone, Default)]
pub struct Stores {
    runtime: Option<Handle>,
    registered: Vec<(String, Arc<dyn ObjectStore>)>,
}

impl Stores {
    /// Stores whose requests run on `runtime`, which must not be the thread's own that reads. Their settings come from the environment, by the names
    /// the clouds' own tools use (`AWS_REGION`, `GOOGLE_SERVICE_ACCOUNT`, `AZURE_STORAGE_ACCOUNT_NAME`, …).
    pub fn new(runtime: Handle) -> Self {
        Stores { runtime: Some(runtime), registered: Vec::new() }
    }

    /// Only files on disk and standard input.
    pub fn local() -> Self {
        Stores::default()
    }

    /// Uses `store` for every location that starts with `base`, a scheme and authority such as `s3://bucket`.
    pub fn register(&mut self, base: &str, store: Arc<dyn ObjectStore>) {
        self.registered.push((base.trim_end_matches('/').to_owned(), store));
    }

    fn resolve(&self, location: &str, base: &str) -> Result<(Arc<dyn ObjectStore>, Handle), SourceError> {
        let registered = self.registered.iter().find(|(registered, _)| registered == base);
        let store = registered.map_or_else(|| build(location, base), |(_, store)| Ok(store.clone()))?;
        let reason = "only local files can be read here".to_owned();
        let runtime = self.runtime.clone().ok_or_else(|| SourceError::Location { location: location.to_owned(), reason })?;
        Ok((store, runtime))
    }
}

impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stores").field("registered", &self.registered.iter().map(|(base, _)| base).collect::<Vec<_>>()).finish_non_exhaustive()
    }
}

#[cfg(feature = "cloud")]
fn build(location: &str, base: &str) -> Result<Arc<dyn ObjectStore>, SourceError> {
    use object_store::aws::AmazonS3Builder;
    use object_store::azure::MicrosoftAzureBuilder;
    use object_store::gcp::GoogleCloudStorageBuilder;
    use object_store::http::HttpBuilder;

    let store: object_store::Result<Arc<dyn ObjectStore>> = match scheme(base) {
        "s3" | "s3a" => AmazonS3Builder::from_env().with_url(base).build().map(|store| Arc::new(store) as _),
        "gs" => GoogleCloudStorageBuilder::from_env().with_url(base).build().map(|store| Arc::new(store) as _),
        "az" | "adl" | "azure" | "abfs" | "abfss" => MicrosoftAzureBuilder::from_env().with_url(base).build().map(|store| Arc::new(store) as _),
        "http" | "https" => HttpBuilder::new().with_url(base).build().map(|store| Arc::new(store) as _),
        other => return Err(unknown_scheme(location, other)),
    };
    store.map_err(|error| SourceError::Location { location: location.to_owned(), reason: error.to_string() })
}

#[cfg(not(feature = "cloud"))]
fn build(location: &str, base: &str) -> Result<Arc<dyn ObjectStore>, SourceError> {
    match scheme(base) {
        "s3" | "s3a" | "gs" | "az" | "adl" | "azure" | "abfs" | "abfss" | "http" | "https" => Err(SourceError::Location {
            location: location.to_owned(),
            reason: "this build reads local files only · build it with the cargo feature `cloud`, or copy the file here".to_owned(),
        }),
        other => Err(unknown_scheme(location, other)),
    }
}

fn unknown_scheme(location: &str, scheme: &str) -> SourceError {
    let reason = format!("unknown scheme `{scheme}` · write a path, or a URL with file, s3, gs, az, http or https");
    SourceError::Location { location: location.to_owned(), reason }
}

fn scheme(base: &str) -> &str {
    base.split_once("://").map_or("", |(scheme, _)| scheme)
}

/// The files that a path, a URL or a pattern of either means, sorted by name. `-` is standard input. Relative paths start at `base`, and files are called as they are
/// written: from there.
///
/// # Errors
/// NotFound where there is none; Invalid where the location cannot be understood, or needs a feature that this build does not have.
pub fn locate(location: &str, base: &Path, stores: &Stores) -> Result<Vec<SourceFile>, Error> {
    if location == "-" {
        return Ok(vec![SourceFile::stream("-", std::io::stdin())]);
    }
    Ok(match location.split_once("://") {
        None => on_disk(location, location, base)?,
        Some(("file", _)) => on_disk(location, &path_of_url(location)?, base)?,
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
            in_store(location, &format!("{scheme}://{authority}"), path, stores)?
        }
    })
}

fn path_of_url(location: &str) -> Result<String, SourceError> {
    let bad = |reason: &str| SourceError::Location { location: location.to_owned(), reason: reason.to_owned() };
    let url = Url::parse(location).map_err(|error| bad(&error.to_string()))?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(bad("`?` and `#` have a meaning in URLs · write the path alone"));
    }
    let path = url.to_file_path().map_err(|()| bad("a file URL has no host and a whole path, as in file:///data/x.parquet"))?;
    path.into_os_string().into_string().map_err(|_| bad("its path is not UTF-8"))
}

fn is_pattern(path: &str) -> bool {
    path.contains(['*', '?', '['])
}

fn on_disk(location: &str, path: &str, base: &Path) -> Result<Vec<SourceFile>, SourceError> {
    let whole = base.join(path);
    // A file of that very name is meant, whatever characters it has.
    if !is_pattern(path) || whole.exists() {
        return match whole.try_exists() {
            Ok(false) => Err(SourceError::NotFound { location: location.to_owned(), hint: missing_hint(&whole, base) }),
            _ => Ok(vec![SourceFile { name: location.to_owned(), place: Place::Local(whole) }]),
        };
    }
    let bad = |reason: String| SourceError::Location { location: location.to_owned(), reason };
    let base_text = base.to_str().ok_or_else(|| bad(format!("the directory `{}` is not UTF-8", base.display())))?;
    let pattern = Path::new(&Pattern::escape(base_text)).join(path);
    let pattern = pattern.to_str().ok_or_else(|| bad("it is not UTF-8".to_owned()))?;
    let found = glob::glob_with(pattern, MATCHING).map_err(|error| bad(format!("not a pattern: {error}")))?;
    let mut paths = found.collect::<Result<Vec<_>, _>>().map_err(|error| SourceError::Io { file: location.to_owned(), cause: error.to_string() })?;
    paths.retain(|path| !path.is_dir());
    paths.sort();
    let file = |path: PathBuf| {
        let name = if base.as_os_str().is_empty() { &path } else { path.strip_prefix(base).unwrap_or(&path) };
        SourceFile { name: name.display().to_string(), place: Place::Local(path.clone()) }
    };
    some(location, paths.into_iter().map(file).collect())
}

fn some(location: &str, files: Vec<SourceFile>) -> Result<Vec<SourceFile>, SourceError> {
    match files.is_empty() {
        true => Err(SourceError::NotFound { location: location.to_owned(), hint: ": nothing matches the pattern".to_owned() }),
        false => Ok(files),
    }
}

fn missing_hint(path: &Path, base: &Path) -> String {
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) if !parent.exists() => format!(": there is no directory `{}` either", parent.display()),
        _ if !base.as_os_str().is_empty() => format!(" in `{}`", base.display()),
        _ if path.is_absolute() => String::new(),
        _ => std::env::current_dir().map_or(String::new(), |here| format!(" in `{}`", here.display())),
    }
}

fn in_store(location: &str, base: &str, path: &str, stores: &Stores) -> Result<Vec<SourceFile>, SourceError> {
    let bad = |reason: String| SourceError::Location { location: location.to_owned(), reason };
    let http = matches!(scheme(base), "http" | "https");
    if http && path.contains('?') {
        return Err(bad("URLs with a query are not read · download the file".to_owned()));
    }
    let (store, runtime) = stores.resolve(location, base)?;
    if !is_pattern(path) {
        let path = ObjectPath::from_url_path(path).map_err(|error| bad(error.to_string()))?;
        return Ok(vec![SourceFile { name: location.to_owned(), place: Place::Remote { store, path, runtime } }]);
    }
    if http {
        return Err(bad("files behind http cannot be listed · name each of them".to_owned()));
    }
    let pattern = Pattern::new(path).map_err(|error| bad(format!("not a pattern: {error}")))?;
    let literal = path.find(['*', '?', '[']).map_or(path, |wild| &path[..wild]);
    let prefix = literal.rsplit_once('/').map_or("", |(directory, _)| directory);
    let prefix = ObjectPath::from_url_path(prefix).map_err(|error| bad(error.to_string()))?;
    let listing = store.list(Some(&prefix)).try_collect::<Vec<_>>();
    let objects = runtime.block_on(listing).map_err(|error| store_error(location, error))?;
    let mut paths: Vec<_> = objects.into_iter().map(|meta| meta.location).filter(|path| pattern.matches_with(path.as_ref(), MATCHING)).collect();
    paths.sort();
    let file = |path: ObjectPath| {
        let name = format!("{base}/{path}");
        SourceFile { name, place: Place::Remote { store: store.clone(), path, runtime: runtime.clone() } }
    };
    some(location, paths.into_iter().map(file).collect())
}
