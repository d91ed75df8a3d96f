//! Prints rows by a `--format`: a table with a header, one line per row of a template, or JSON lines.

use std::rc::Rc;

use super::table;
use crate::template::{self, Mode, Template};
use crate::value::{Row, Value};

/// Titles of the columns that a listing knows.
pub type Titles = &'static [(&'static str, &'static str)];

/// A format as given: `table`, `table TEMPLATE`, `json` or a template.
#[derive(Debug)]
pub struct Format {
    is_table: bool,
    template: Template,
}

/// A `--format` that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It does not parse.
    #[error("template parsing error: {0}")]
    Parse(#[source] template::Error),
    /// It fails on a row.
    #[error("template parsing error: {0}")]
    Run(#[source] template::Error),
}

impl Format {
    /// Reads a format; `table` alone must have been replaced by the noun's own table before.
    ///
    /// # Errors
    /// The template does not parse.
    pub fn parse(text: &str) -> Result<Format, Error> {
        let is_table = text.starts_with("table");
        let body = if text == "json" {
            "{{json .}}".to_owned()
        } else {
            text.strip_prefix("table")
                .unwrap_or(text)
                .trim_matches(' ')
                .replace("\\t", "\t")
                .replace("\\n", "\n")
        };
        Ok(Format { is_table, template: Template::parse(&body).map_err(Error::Parse)? })
    }

    /// What the listing prints.
    ///
    /// # Errors
    /// The template names a column that the rows lack.
    pub fn render(&self, titles: Titles, rows: impl IntoIterator<Item = Row>) -> Result<String, Error> {
        let mut lines = String::new();
        for row in rows {
            self.template.run(&Value::Row(Rc::new(row)), Mode::Data, &mut lines).map_err(Error::Run)?;
            lines.push('\n');
        }
        if !self.is_table {
            return Ok(lines);
        }
        let mut text = self.header(titles);
        text.push_str(&lines);
        Ok(table::align(&text, table::Shape::default()))
    }

    fn header(&self, titles: Titles) -> String {
        let fields = titles.iter().map(|(k, v)| (*k, Value::from(*v))).collect();
        let row = Row { type_name: "formatter.SubHeaderContext", fields, labels: Some(Default::default()) };
        let mut text = String::new();
        // A header that cannot be made whole is printed as far as it goes: the rows have told the error already.
        let _ = self.template.run(&Value::Row(Rc::new(row)), Mode::Header, &mut text);
        text.push('\n');
        text
    }
}
