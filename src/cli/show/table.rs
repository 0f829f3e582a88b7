//! Columns as kubectl writes them: two blanks between, nothing behind the last. Pure.

use super::text::{Tone, columns, paint, shorten};

/// Blanks between two columns.
const BETWEEN: usize = 2;
/// No column is shortened to less.
const SHORTEST: usize = 8;

/// A table, in the order of its rows.
#[derive(Clone, Debug, Default)]
pub struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
    elastic: Vec<usize>,
}

/// A cell.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// A cell of this text, which must be clean.
    #[must_use]
    pub fn new(text: impl Into<String>, tone: Tone) -> Self {
        Self {
            text: text.into(),
            tone,
        }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text, Tone::Plain)
    }
}

impl Table {
    /// A table with these columns. Those that `elastic` lists give way where there is no room, the widest first.
    #[must_use]
    pub fn new(head: &[&'static str], elastic: &[usize]) -> Self {
        Self {
            head: head.to_vec(),
            rows: vec![],
            elastic: elastic.to_vec(),
        }
    }

    /// One row more.
    pub fn push(&mut self, row: impl IntoIterator<Item = Cell>) {
        self.rows.push(row.into_iter().collect());
    }

    /// The lines, none wider than `width` if the elastic columns allow it.
    #[must_use]
    pub fn render(&self, width: usize) -> String {
        let widths = self.widths(width);
        let mut text = String::new();
        if self.head.iter().any(|title| !title.is_empty()) {
            let head = self.head.iter().map(|title| Cell::from(*title));
            line(&head.collect::<Vec<_>>(), &widths, &mut text);
        }
        for row in &self.rows {
            line(row, &widths, &mut text);
        }
        text
    }

    fn widths(&self, width: usize) -> Vec<usize> {
        let mut widths: Vec<usize> = self.head.iter().map(|title| columns(title)).collect();
        for row in &self.rows {
            for (widest, cell) in widths.iter_mut().zip(row) {
                *widest = (*widest).max(columns(&cell.text));
            }
        }
        let gaps = BETWEEN * widths.len().saturating_sub(1);
        while widths.iter().sum::<usize>() + gaps > width {
            let widest = self
                .elastic
                .iter()
                .filter_map(|column| Some((*widths.get(*column)?, *column)))
                .max();
            match widest {
                Some((now, column)) if now > SHORTEST => widths[column] = now - 1,
                Some(_) | None => break,
            }
        }
        widths
    }
}

fn line(row: &[Cell], widths: &[usize], text: &mut String) {
    let last = row
        .iter()
        .rposition(|cell| !cell.text.is_empty())
        .unwrap_or_default();
    for (column, (cell, width)) in row.iter().zip(widths).enumerate().take(last + 1) {
        let shown = shorten(&cell.text, *width);
        text.push_str(&paint(cell.tone, &shown));
        if column < last {
            text.extend(std::iter::repeat_n(' ', width - columns(&shown) + BETWEEN));
        }
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_widest_elastic_column_gives_way() {
        let mut table = Table::new(&["LOCK", "POD", "FOR"], &[0, 1]);
        table.push(["users".into(), "shop-7d9c8b6f5d-bbbbb".into(), "12m".into()]);
        table.push(["".into(), Cell::new("", Tone::Bad), "".into()]);
        assert_eq!(
            table.render(80),
            "LOCK   POD                    FOR\nusers  shop-7d9c8b6f5d-bbbbb  12m\n\n"
        );
        assert_eq!(
            table.render(25),
            "LOCK   POD            FOR\nusers  shop…5d-bbbbb  12m\n\n"
        );
    }
}
