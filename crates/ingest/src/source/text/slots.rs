//! Which column a member of an object, or a field of a record, belongs to.

use rustc_hash::FxHashMap;

use super::super::column::Value;
use super::super::json::Member;
use super::super::rows::{Cell, Kind};

/// The columns of a source by name.
#[derive(Debug)]
pub(super) struct Slots {
    names: Vec<String>,
    index: FxHashMap<String, usize>,
    /// Where the members of the last object belonged, in their order: the next one's mostly belong there too.
    hints: Vec<Option<usize>>,
    scratch: String,
}

impl Slots {
    pub(super) fn new<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let names: Vec<String> = names.map(str::to_owned).collect();
        let index = names.iter().enumerate().map(|(slot, name)| (name.clone(), slot)).collect();
        Slots { names, index, hints: Vec::new(), scratch: String::new() }
    }

    pub(super) fn name(&self, slot: usize) -> &str {
        self.names.get(slot).map_or("", String::as_str)
    }

    /// The slot of a column, where one has that name.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.index.get(name).copied()
    }

    /// Puts the values of an object's members into their cells, all of which are absent.
    pub(super) fn fill(&mut self, text: &str, members: &[Member], cells: &mut [Cell]) -> Result<(), String> {
        if self.hints.len() < members.len() {
            self.hints.resize(members.len(), None);
        }
        let Slots { names, index, hints, scratch } = self;
        for (member, hint) in members.iter().zip(hints) {
            let key = Value::of(member.key, text).unescaped(scratch)?;
            if !hint.is_some_and(|slot| names[slot] == key) {
                *hint = index.get(key).copied();
            }
            let Some(slot) = *hint else { continue };
            if cells[slot].kind() != Kind::Absent {
                return Err(format!("member `{key}` occurs twice"));
            }
            cells[slot] = member.value;
        }
        Ok(())
    }
}
