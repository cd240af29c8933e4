//! Good files load; bad files say what the fixture beside them says; no text whatever breaks the reader.
//!
//! A bad file `NAME.toml` has its refusal in `NAME.expected`, as it is drawn without colour. After a change of wording the
//! fixtures are written anew with `MARQUETRY_WRITE_EXPECTED=1 cargo test --test config_check`, and read before they are kept.

use std::fs;
use std::path::{Path, PathBuf};

use marquetry::config::file::check;

fn fixtures(kind: &str) -> Vec<PathBuf> {
    let directory = Path::new("fixtures/config").join(kind);
    let mut files: Vec<PathBuf> = fs::read_dir(&directory)
        .expect("the folder of fixtures is there")
        .map(|entry| entry.expect("its entries can be read").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} holds no file", directory.display());
    files
}

/// Compares what `check` prints with the file beside the fixture, or writes that file.
fn compare(path: &Path, printed: &str, wrong: &mut Vec<String>) {
    let expected = path.with_extension("expected");
    if std::env::var_os("MARQUETRY_WRITE_EXPECTED").is_some() {
        fs::write(&expected, printed).expect("the fixture can be written");
    }
    let wanted = fs::read_to_string(&expected).unwrap_or_default();
    if wanted != printed {
        wrong.push(format!(
            "{}\nwanted:\n{wanted}\nprinted:\n{printed}",
            path.display()
        ));
    }
}

#[test]
fn bad_files_are_refused_with_all_their_faults() {
    let mut wrong = Vec::new();
    for path in fixtures("bad") {
        let (printed, accepted) = check(&path, false);
        assert!(!accepted, "{} was accepted:\n{printed}", path.display());
        compare(&path, &printed, &mut wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn good_files_load() {
    let mut wrong = Vec::new();
    for path in fixtures("good") {
        let (printed, accepted) = check(&path, false);
        assert!(accepted, "{} was refused:\n{printed}", path.display());
        compare(&path, &printed, &mut wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
