//! Tables of the report.

use std::ops::Range;

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Row, Table};

pub(crate) fn new(header: impl Into<Row>) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header(header);
    table
}

/// Aligns columns of numbers to the right.
pub(crate) fn align(table: &mut Table, numbers: Range<usize>) {
    let columns = table.column_iter_mut();
    for column in columns.skip(numbers.start).take(numbers.len()) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}
