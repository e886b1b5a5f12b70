//! Lists of features that were asked for lately. Callers ask for the same list again and again, and finding one of hundreds takes longer than answering it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use arc_swap::ArcSwap;
use lockstep_model::Error;
use lockstep_transform::catalog::Catalog;

use super::Wanted;

/// Lists that are known, those found last.
const LISTS_MAX: usize = 64;
/// Features of a list that is worth keeping at most: a bound on memory, whatever callers ask for.
const FEATURES_MAX: usize = 4096;

/// What was found. Reading takes no lock; who finds another list puts a new set of them in its place.
#[derive(Debug, Default)]
pub struct Lists {
    known: ArcSwap<Vec<Arc<Listed>>>,
}

#[derive(Debug)]
struct Listed {
    hash: u64,
    name: String,
    features: Vec<String>,
    wanted: Arc<Wanted>,
}

impl Lists {
    /// Finds what is asked for, as [`Wanted::find`] does.
    ///
    /// # Errors
    /// As [`Wanted::find`]; what is wrong is not kept.
    pub fn find(&self, catalog: &Catalog, name: &str, features: &[String]) -> Result<Arc<Wanted>, Error> {
        let mut hasher = DefaultHasher::new();
        (name, features).hash(&mut hasher);
        let hash = hasher.finish();
        let known = self.known.load();
        let same = |listed: &&Arc<Listed>| listed.hash == hash && listed.name == name && listed.features == features;
        if let Some(listed) = known.iter().find(same) {
            return Ok(Arc::clone(&listed.wanted));
        }
        let wanted = Arc::new(Wanted::find(catalog, name, features)?);
        if features.len() <= FEATURES_MAX {
            let listed = Listed { hash, name: name.to_owned(), features: features.to_vec(), wanted: Arc::clone(&wanted) };
            // Of two who come at once one is forgotten, and found again.
            let rest = known.iter().take(LISTS_MAX - 1).cloned();
            self.known.store(Arc::new(std::iter::once(Arc::new(listed)).chain(rest).collect()));
        }
        Ok(wanted)
    }
}

#[cfg(test)]
mod tests {
    use lockstep_transform::definition::{Definitions, SourceFile};

    use super::super::tests::SQL;
    use super::*;

    #[test]
    fn a_list_is_found_once_and_every_other_is_another() {
        let catalog = Catalog::compile(Definitions::parse(&[SourceFile::new("all.sql", SQL)]).unwrap()).unwrap();
        let lists = Lists::default();
        let find = |name: &str, features: &[&str]| lists.find(&catalog, name, &features.iter().map(|of| (*of).to_owned()).collect::<Vec<_>>());
        let first = find("both", &["visits", "sales"]).unwrap();
        assert!(Arc::ptr_eq(&first, &find("both", &["visits", "sales"]).unwrap()));
        let names = |wanted: &Wanted| wanted.outputs().iter().map(|output| output.name.to_string()).collect::<Vec<_>>();
        assert_eq!(names(&first), ["visits", "sales"]);
        for (name, features, expected) in
            [("both", &["sales", "visits"][..], &["sales", "visits"][..]), ("", &["quick.sales_1h"], &["quick.sales_1h"])]
        {
            assert_eq!(names(&find(name, features).unwrap()), expected);
        }
        // What is wrong is told each time, and so is what comes after more lists than are kept.
        (0..2).for_each(|_| assert!(find("both", &["sale"]).unwrap_err().to_string().contains("did you mean `sales`?")));
        for repeats in 1..=LISTS_MAX {
            find("both", &vec!["sales"; repeats + 1]).unwrap();
        }
        assert_eq!(lists.known.load().len(), LISTS_MAX);
        assert!(!Arc::ptr_eq(&first, &find("both", &["visits", "sales"]).unwrap()));
    }
}
