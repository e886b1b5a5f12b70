//! Aligned tables.

use unicode_width::UnicodeWidthStr;

use crate::output::Paint;

/// On which side a column's cells are flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Texts.
    Left,
    /// Numbers.
    Right,
}

type Painter = fn(Paint, &str) -> String;

/// A cell: its text, and how it is painted once it is padded.
#[derive(Debug, Clone)]
pub struct Cell {
    text: String,
    paint: Option<Painter>,
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Cell { text: text.into(), paint: None }
    }
}

impl Cell {
    /// A cell that is painted.
    pub fn painted(text: impl Into<String>, paint: Painter) -> Self {
        Cell { text: text.into(), paint: Some(paint) }
    }
}

/// A table with a heading; columns are as wide as their widest cell.
#[derive(Debug)]
pub struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<Cell>>,
    indent: usize,
}

impl Table {
    /// A table of these columns.
    pub fn new(columns: &[(&str, Align)]) -> Self {
        Table { columns: columns.iter().map(|&(name, align)| (name.to_owned(), align)).collect(), rows: Vec::new(), indent: 0 }
    }

    /// Moves it in by so many spaces.
    pub fn indented(mut self, indent: usize) -> Self {
        self.indent = indent;
        self
    }

    /// Adds a row of as many cells as there are columns.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The table, each line with its newline.
    pub fn render(&self, paint: Paint) -> String {
        let headings: Vec<Cell> = self.columns.iter().map(|(name, _)| Cell::painted(name.as_str(), |paint, text| paint.dim(text))).collect();
        let has_heading = self.columns.iter().any(|(name, _)| !name.is_empty());
        let lines: Vec<&Vec<Cell>> = has_heading.then_some(&headings).into_iter().chain(&self.rows).collect();
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|column| lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.text.width()).max().unwrap_or(0))
            .collect();
        lines.into_iter().map(|line| self.line(line, &widths, paint)).collect()
    }

    fn line(&self, cells: &[Cell], widths: &[usize], paint: Paint) -> String {
        let mut line = " ".repeat(self.indent);
        for (at, (cell, width)) in cells.iter().zip(widths).enumerate() {
            let padding = " ".repeat(width.saturating_sub(cell.text.width()));
            let text = cell.paint.map_or_else(|| cell.text.clone(), |painter| painter(paint, &cell.text));
            let is_last = at + 1 == cells.len();
            match self.columns.get(at).map_or(Align::Left, |(_, align)| *align) {
                Align::Right => line.extend([padding.as_str(), &text]),
                Align::Left if is_last => line.push_str(&text),
                Align::Left => line.extend([text.as_str(), &padding]),
            }
            if !is_last {
                line.push_str("  ");
            }
        }
        line.truncate(line.trim_end().len());
        line.push('\n');
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_whatever_the_script() {
        let mut table = Table::new(&[("name", Align::Left), ("rows", Align::Right), ("", Align::Left)]).indented(1);
        table.row(["größe".into(), "1".into(), "x".into()]);
        table.row(["東京".into(), Cell::painted("1,000", |paint, text| paint.red(text)), "".into()]);
        assert_eq!(table.render(Paint(false)), " name    rows\n größe      1  x\n 東京   1,000\n");
        assert!(table.render(Paint(true)).contains("\u{1b}[1;31m1,000\u{1b}[0m"));
    }
}
