//! Where the socket is: a private directory in the store's, or elsewhere where that cannot hold one.
//!
//! The path of a socket is limited to about a hundred bytes, and some file systems know no sockets. The socket is then in a temporary directory, and its path in a
//! file where it would have been. What a killed owner left is removed by the next one; which of them owns the store is decided by the lock alone.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

const DIR: &str = "admin";
const SOCKET: &str = "socket";
/// Holds the path of a socket that is elsewhere.
const ELSEWHERE: &str = "path";

/// A socket that is listened at; dropping it removes its files.
#[derive(Debug)]
pub(super) struct Place {
    dir: PathBuf,
    /// Removed with the socket in it.
    _elsewhere: Option<TempDir>,
}

impl Place {
    /// Listens at a new socket for the store at `store`, which must be owned by this process.
    pub(super) fn bind(store: &Path) -> io::Result<(Place, UnixListener)> {
        let dir = dir_of(store)?;
        clean(&dir)?;
        // Nobody else gets through the directory, so that no moment passes in which the socket is open to others.
        DirBuilder::new().mode(0o700).create(&dir)?;
        if let Ok(listener) = listen(&dir.join(SOCKET)) {
            return Ok((Place { dir, _elsewhere: None }, listener));
        }
        let elsewhere = tempfile::Builder::new().prefix("lockstep-").permissions(Permissions::from_mode(0o700)).tempdir()?;
        let socket = elsewhere.path().join(SOCKET);
        let listener = listen(&socket)?;
        // Renamed, so that nobody reads half a path.
        let partial = dir.join("path.partial");
        fs::write(&partial, socket.into_os_string().into_vec())?;
        fs::rename(&partial, dir.join(ELSEWHERE))?;
        Ok((Place { dir, _elsewhere: Some(elsewhere) }, listener))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = clean(&self.dir) {
            tracing::debug!(%error, dir = %self.dir.display(), "leave the socket as it is");
        }
    }
}

/// Where the owner of the store at `store` listens, if it does.
pub(super) fn find(store: &Path) -> io::Result<PathBuf> {
    let dir = dir_of(store)?;
    Ok(elsewhere(&dir)?.unwrap_or_else(|| dir.join(SOCKET)))
}

/// Absolute, so that owner and clients try the same path whatever directories they run in.
fn dir_of(store: &Path) -> io::Result<PathBuf> {
    Ok(fs::canonicalize(store)?.join(DIR))
}

fn listen(socket: &Path) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(socket)?;
    fs::set_permissions(socket, Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn elsewhere(dir: &Path) -> io::Result<Option<PathBuf>> {
    match fs::read(dir.join(ELSEWHERE)) {
        Ok(path) => Ok(Some(PathBuf::from(OsString::from_vec(path)))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes what an owner left: nothing but sockets, the file that names one, and the directories that were made for them.
fn clean(dir: &Path) -> io::Result<()> {
    if let Some(socket) = elsewhere(dir)?
        && socket.file_name().is_some_and(|name| name == SOCKET)
    {
        gone(fs::remove_file(&socket))?;
        // Fails where it is not ours alone, and then stays.
        let _ = socket.parent().map(fs::remove_dir);
    }
    for name in [SOCKET, ELSEWHERE, "path.partial"] {
        gone(fs::remove_file(dir.join(name)))?;
    }
    gone(fs::remove_dir(dir))
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn check(store: &Path) -> PathBuf {
        fs::create_dir_all(store).unwrap();
        let (place, _listener) = Place::bind(store).unwrap();
        let socket = find(store).unwrap();
        assert_eq!((mode(&socket), mode(socket.parent().unwrap())), (0o600, 0o700));
        UnixStream::connect(&socket).unwrap();
        std::mem::forget(place);
        // As after a kill: the next owner takes the place.
        let (place, _listener) = Place::bind(store).unwrap();
        let again = find(store).unwrap();
        UnixStream::connect(&again).unwrap();
        drop(place);
        assert!(!socket.exists() && !again.exists() && !store.join(DIR).exists());
        again
    }

    #[test]
    fn a_socket_is_private_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let socket = check(&dir.path().join("store"));
        assert!(socket.starts_with(fs::canonicalize(dir.path()).unwrap()));
    }

    #[test]
    fn a_long_path_is_left_in_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("a-long-name-of-a-directory/".repeat(6));
        let socket = check(&store);
        assert!(!socket.starts_with(fs::canonicalize(dir.path()).unwrap()));
    }
}
