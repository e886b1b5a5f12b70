//! Names: how SQL reads them, how messages show them, and which one was meant.

use datafusion::sql::sqlparser::ast::Ident;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::Diagnostic;
use super::text::Span;

/// A name and where it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    /// As SQL reads it.
    pub(super) text: String,
    pub(super) span: Span,
}

/// A name as SQL reads it, and DataFusion with it: in lower case unless quoted.
pub(crate) fn normalise(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_ascii_lowercase(),
    }
}

/// A name as it must be written to be read as itself: quoted where it is a keyword, has capitals, or is no plain word.
pub fn quoted(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    let reserved = matches!(Token::make_word(name, None), Token::Word(word) if RESERVED.contains(&word.keyword));
    if plain && !reserved { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// Keywords that cannot stand bare where an expression starts.
const RESERVED: &[Keyword] = &[
    Keyword::ALL,
    Keyword::AND,
    Keyword::AS,
    Keyword::BETWEEN,
    Keyword::BY,
    Keyword::CASE,
    Keyword::CAST,
    Keyword::CROSS,
    Keyword::CURRENT_DATE,
    Keyword::CURRENT_TIME,
    Keyword::CURRENT_TIMESTAMP,
    Keyword::DISTINCT,
    Keyword::ELSE,
    Keyword::END,
    Keyword::EXCEPT,
    Keyword::EXISTS,
    Keyword::FALSE,
    Keyword::FROM,
    Keyword::GROUP,
    Keyword::HAVING,
    Keyword::IN,
    Keyword::INNER,
    Keyword::INTERSECT,
    Keyword::INTERVAL,
    Keyword::IS,
    Keyword::JOIN,
    Keyword::LEFT,
    Keyword::LIKE,
    Keyword::LIMIT,
    Keyword::NOT,
    Keyword::NULL,
    Keyword::OFFSET,
    Keyword::ON,
    Keyword::OR,
    Keyword::ORDER,
    Keyword::PARTITION,
    Keyword::RIGHT,
    Keyword::SELECT,
    Keyword::THEN,
    Keyword::TRUE,
    Keyword::UNION,
    Keyword::WHEN,
    Keyword::WHERE,
    Keyword::WINDOW,
    Keyword::WITH,
];

/// The one of `known` that was most likely meant by `wrong`, if any is close.
pub fn suggestion<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wrong = wrong.to_lowercase();
    // One letter is never near to another.
    let allowed = match wrong.chars().count() {
        0..=2 => 0,
        letters => (letters / 3).max(1),
    };
    known
        .into_iter()
        .map(|name| (distance(&wrong, &name.to_lowercase()), name))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Edits between two names; one that begins with the other is near, however long.
fn distance(wrong: &str, name: &str) -> usize {
    let edits = strsim::damerau_levenshtein(wrong, name);
    let begins = wrong.len() >= 3 && (name.starts_with(wrong) || wrong.starts_with(name) && name.len() >= 3);
    if begins { edits.min(1) } else { edits }
}

/// Says of an unknown name which ones there are, and which was likely meant.
pub(super) fn did_you_mean(diagnostic: Diagnostic, wrong: &str, plural: &str, known: &[&str]) -> Diagnostic {
    let help = suggestion(wrong, known.iter().copied()).map(|name| format!("did you mean `{}`?", quoted(name)));
    let note = if known.is_empty() { format!("there are no {plural}") } else { format!("{plural}: {}", list(known.iter().copied())) };
    diagnostic.note(note).help_opt(help)
}

/// Names as a list in a message, each as it would be written.
pub(super) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(quoted).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_where_sql_would_read_something_else() {
        for (name, shown) in
            [("origin", "origin"), ("Time", "\"Time\""), ("order", "\"order\""), ("a b", "\"a b\""), ("1h", "\"1h\""), ("x\"y", "\"x\"\"y\"")]
        {
            assert_eq!(quoted(name), shown);
        }
        assert_eq!(quoted("timestamp"), "timestamp");
    }

    #[test]
    fn the_nearest_name_is_suggested_and_a_far_one_is_not() {
        let known = ["dep_delay", "departed_at", "distance", "dest"];
        assert_eq!(suggestion("dep_dely", known), Some("dep_delay"));
        assert_eq!(suggestion("Distance", known), Some("distance"));
        assert_eq!(suggestion("departed", known), Some("departed_at"));
        assert_eq!(suggestion("weather", known), None);
        assert_eq!(suggestion("q", ["r", "o"]), None);
    }
}
