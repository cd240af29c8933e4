//! The sites in `examples/` have configurations without a fault or a warning. The sites themselves, which need Python and PHP, are run by
//! the gate: `examples/zope/demo.py check` and `examples/symfony/demo.py check`.

use std::path::{Path, PathBuf};

use marquetry::config::file::check;

#[test]
fn their_configurations_have_neither_faults_nor_warnings() {
    let files = configurations();
    assert!(files.len() >= 2, "{files:?}");
    for file in files {
        let (printed, accepted) = check(&file, false);
        assert!(accepted, "{printed}");
        assert!(!printed.contains("warning"), "{printed}");
    }
}

/// Those of the folders; the reference beside them shows defaults, and is warned of some.
fn configurations() -> Vec<PathBuf> {
    let folders = std::fs::read_dir(Path::new("examples")).expect("the examples are there");
    folders
        .map(|entry| {
            entry
                .expect("an entry of a folder")
                .path()
                .join("marquetry.toml")
        })
        .filter(|path| path.exists())
        .collect()
}
