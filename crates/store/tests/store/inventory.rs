//! What lies in the directory of a store, counted by RocksDB alone: what nothing reaches any more is seen too.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use rocksdb::{DB, IteratorMode, Options};

/// What there is in the directory of a store that nobody owns.
#[derive(PartialEq, Eq)]
pub struct Inventory {
    /// Keys of each family of the store.
    pub keys: BTreeMap<String, Vec<Vec<u8>>>,
    /// Files of each family below level 0, by their first key.
    pub files: BTreeMap<String, Vec<Vec<u8>>>,
    /// Keys of each family of each snapshot, counted.
    pub snapshots: Vec<BTreeMap<String, usize>>,
    /// Everything that is no file of a database, by path; a snapshot that is named by its number has none in it.
    pub others: Vec<String>,
}

impl Inventory {
    /// Takes it.
    pub fn of(store: &Path) -> Inventory {
        let db = open(&store.join("db"));
        let mut files: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
        for file in db.live_files().unwrap().into_iter().filter(|file| file.level > 0) {
            files.entry(file.column_family_name).or_default().push(file.start_key.unwrap_or_default());
        }
        let shelf = fs::read_dir(store.join("snapshots")).into_iter().flatten().map(|entry| entry.unwrap().path().join("db"));
        let mut snapshots: Vec<_> = shelf.map(|path| keys(&path).into_iter().map(|(family, keys)| (family, keys.len())).collect()).collect();
        snapshots.sort();
        let mut others = Vec::new();
        walk(store, "", &mut others);
        others.sort();
        Inventory { keys: keys(&store.join("db")), files, snapshots, others }
    }

    /// How many keys each family has, and how many files below level 0, with everything else as it is.
    #[allow(dead_code, reason = "for those who compare stores that have numbered what they hold otherwise")]
    pub fn counted(self) -> Inventory {
        let numbered = |keys: BTreeMap<String, Vec<Vec<u8>>>| keys.into_iter().map(|(family, keys)| (family, vec![Vec::new(); keys.len()])).collect();
        Inventory { keys: numbered(self.keys), files: numbered(self.files), ..self }
    }
}

impl fmt::Debug for Inventory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = |of: &BTreeMap<String, Vec<Vec<u8>>>| of.iter().map(|(family, keys)| (family.clone(), keys.len())).collect::<BTreeMap<_, _>>();
        let mut shown = f.debug_struct("Inventory");
        shown.field("keys", &counts(&self.keys)).field("files", &counts(&self.files));
        shown.field("snapshots", &self.snapshots).field("others", &self.others).finish()
    }
}

fn open(path: &Path) -> DB {
    let options = Options::default();
    let families = DB::list_cf(&options, path).unwrap();
    DB::open_cf_for_read_only(&options, path, families, false).unwrap()
}

fn keys(path: &Path) -> BTreeMap<String, Vec<Vec<u8>>> {
    let (db, families) = (open(path), DB::list_cf(&Options::default(), path).unwrap());
    let of_family = |family: String| {
        let rows = db.iterator_cf(db.cf_handle(&family).unwrap(), IteratorMode::Start);
        let keys = rows.map(|row| row.unwrap().0.into_vec()).collect();
        (family, keys)
    };
    families.into_iter().map(of_family).collect()
}

/// Who owns a store, or owned it last, is no part of it.
const OF_OWNERS: [&str; 3] = ["OWNER", "LOCK", "admin"];

fn walk(dir: &Path, path: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if name == "db" || (path.is_empty() && OF_OWNERS.contains(&name.as_str())) {
            continue;
        }
        let is_number = path == "snapshots/" && name.len() == 5 && name.starts_with('s') && name[1..].bytes().all(|byte| byte.is_ascii_digit());
        let path = format!("{path}{}", if is_number { "s" } else { &name });
        if entry.file_type().unwrap().is_dir() {
            found.push(format!("{path}/"));
            walk(&entry.path(), &format!("{path}/"), found);
        } else {
            found.push(path);
        }
    }
}
