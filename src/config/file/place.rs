//! Where the file stands, from which the paths in it are counted.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::config::file::setting::Setting;

/// The directory of the configuration file.
pub(super) struct Place {
    directory: PathBuf,
}

impl Place {
    pub(super) fn of(file: &Path) -> Self {
        let directory = file.parent().map(Path::to_path_buf).unwrap_or_default();
        Self { directory }
    }

    /// A file that must be readable now.
    pub(super) fn readable(&self, setting: &Setting<'_>, accepted: &str) -> Option<PathBuf> {
        let path = self.directory.join(setting.text(accepted)?);
        let opened = File::open(&path).and_then(|file| file.metadata());
        let reason = match opened {
            Ok(metadata) if metadata.is_dir() => "it is a directory".to_owned(),
            Ok(_) => return Some(path),
            Err(reason) => reason.to_string(),
        };
        refuse(setting, "read", &path, &reason, accepted)
    }

    /// A file that is there, or whose directory is.
    pub(super) fn creatable(&self, setting: &Setting<'_>, text: &str) -> Option<PathBuf> {
        let path = self.directory.join(text);
        let directory = path
            .parent()
            .filter(|directory| !directory.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let accepted = "a file in a directory that exists";
        if path.is_dir() {
            return refuse(setting, "write", &path, "it is a directory", accepted);
        }
        if !directory.is_dir() {
            return refuse(
                setting,
                "write",
                &path,
                "its directory does not exist",
                accepted,
            );
        }
        Some(path)
    }
}

fn refuse(
    setting: &Setting<'_>,
    verb: &str,
    path: &Path,
    reason: &str,
    accepted: &str,
) -> Option<PathBuf> {
    let message = format!(
        "`{}`: cannot {verb} {}: {reason}",
        setting.name,
        path.display()
    );
    let fault = setting.error(message);
    setting
        .faults
        .report(fault.help(format!("accepted: {accepted}")));
    None
}
