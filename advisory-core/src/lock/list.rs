//! Several names or keys in one line of text.

use std::fmt;
use std::sync::Arc;

/// How many items are written before the rest is only counted.
const LISTED: usize = 8;

/// Collects the names of several locks. There is no common name if one of them has none.
#[derive(Default)]
pub(crate) struct Names {
    listed: Vec<Arc<str>>,
    total: usize,
    unnamed: bool,
}

impl Names {
    pub(crate) fn push(&mut self, name: Option<&Arc<str>>) {
        self.total += 1;
        match name {
            Some(name) if self.listed.len() < LISTED => self.listed.push(name.clone()),
            Some(_) => {}
            None => self.unnamed = true,
        }
    }

    pub(crate) fn finish(self) -> Option<Arc<str>> {
        if self.unnamed || self.total == 0 {
            return None;
        }
        let names = Listed {
            items: &self.listed,
            total: self.total,
        };
        Some(names.to_string().into())
    }
}

/// Writes the first few items and counts the rest.
pub(crate) struct Listed<'a, T> {
    pub(crate) items: &'a [T],
    pub(crate) total: usize,
}

impl<T: fmt::Display> fmt::Display for Listed<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.items.len().min(LISTED);
        for (index, item) in self.items[..shown].iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{item}")?;
        }
        match self.total - shown {
            0 => Ok(()),
            rest => write!(f, " and {rest} more"),
        }
    }
}
