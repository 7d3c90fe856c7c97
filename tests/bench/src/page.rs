//! Writes the figures into `docs/PERFORMANCE.md` between its marks. The prose outside the marks is
//! kept.

use std::path::PathBuf;

use advisory_tests::project::workspace;

use crate::plot::Plot;

pub(crate) fn folder() -> PathBuf {
    workspace().join("docs")
}

/// Writes each text between the marks of its name, and the plots into the folder of the page.
pub(crate) fn write(parts: &[(String, String)], plots: &[Plot]) -> Result<(), String> {
    let file = folder().join("PERFORMANCE.md");
    let failed = |error: std::io::Error| format!("{}: {error}", file.display());
    let mut page = std::fs::read_to_string(&file).map_err(failed)?;
    for (name, text) in parts {
        page = replaced(&page, name, text)?;
    }
    std::fs::write(&file, page).map_err(failed)?;
    plots.iter().try_for_each(|plot| plot.draw(&folder()))
}

fn replaced(page: &str, name: &str, text: &str) -> Result<String, String> {
    let (begin, end) = (
        format!("<!-- begin {name} -->"),
        format!("<!-- end {name} -->"),
    );
    let missing = |mark: &str| format!("PERFORMANCE.md has no `{mark}`");
    let (before, rest) = page.split_once(&begin).ok_or_else(|| missing(&begin))?;
    let (_, after) = rest.split_once(&end).ok_or_else(|| missing(&end))?;
    Ok(format!("{before}{begin}\n\n{text}\n\n{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_text_between_the_marks_is_replaced() {
        let page =
            "prose\n<!-- begin a -->\nold\n<!-- end a -->\nmore <!-- begin b --><!-- end b -->";
        let page = replaced(page, "a", "new").unwrap();
        assert_eq!(
            page,
            "prose\n<!-- begin a -->\n\nnew\n\n<!-- end a -->\nmore <!-- begin b --><!-- end b -->"
        );
        assert!(replaced(&page, "c", "x").unwrap_err().contains("begin c"));
    }
}
