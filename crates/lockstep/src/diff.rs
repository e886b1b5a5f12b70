//! Differences of texts, line by line.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::output::Paint;

/// A line that is there on one side only, or a common one beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Line {
    /// `-` for a line that goes, `+` for one that comes, a space for one that stays.
    pub sign: char,
    /// The line.
    pub text: String,
}

/// The shortest list of lines that go and come, each run of them with the line before it.
pub fn diff(old: &str, new: &str) -> Vec<Line> {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().map(str::trim_end).collect(), new.lines().map(str::trim_end).collect());
    let common = common_lengths(&old, &new);
    let mut lines: Vec<Line> = Vec::new();
    let (mut i, mut j, mut last_common) = (0, 0, None);
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            last_common = Some(old[i]);
            (i, j) = (i + 1, j + 1);
            continue;
        }
        lines.extend(last_common.take().map(|text| Line { sign: ' ', text: text.to_owned() }));
        // Of lines that could go first, the old ones do.
        if i < old.len() && (j == new.len() || common[i + 1][j] >= common[i][j + 1]) {
            lines.push(Line { sign: '-', text: old[i].to_owned() });
            i += 1;
        } else {
            lines.push(Line { sign: '+', text: new[j].to_owned() });
            j += 1;
        }
    }
    lines
}

/// Per pair of suffixes: how many lines they have in common, in order.
fn common_lengths(old: &[&str], new: &[&str]) -> Vec<Vec<u32>> {
    let mut common = vec![vec![0; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] = if old[i] == new[j] { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    common
}

/// Lines for people.
pub fn text(lines: &[Line], indent: &str, paint: Paint) -> String {
    let show = |line: &Line| {
        let text = format!("{} {}", line.sign, line.text);
        let painted = match line.sign {
            '-' => paint.red(text.trim_end()),
            '+' => paint.green(text.trim_end()),
            _ => paint.dim(text.trim_end()),
        };
        format!("{indent}{painted}\n")
    };
    lines.iter().map(show).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_and_comes_is_told_with_the_line_before() {
        let lines = diff("a\nb\nc\nd\ne", "a\nx\nc\nd\ne\nf");
        assert_eq!(text(&lines, "", Paint(false)), "  a\n- b\n+ x\n  e\n+ f\n");
        assert_eq!(diff("a\nb", "a\nb  "), []);
        assert_eq!(text(&diff("", "a"), "> ", Paint(false)), "> + a\n");
        assert_eq!(text(&diff("a", ""), "", Paint(false)), "- a\n");
    }
}
