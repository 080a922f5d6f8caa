//! `~/` at the beginning of a path.

use std::path::{Path, PathBuf};

use directories::BaseDirs;

/// Replaces `~/` at the beginning of a path with the user's home folder, as a shell does; shells leave it in files and in
/// `--option=~/file`. Other paths, and one of a user without a home folder, stay as they are.
pub fn expand_home(path: impl AsRef<Path>) -> PathBuf {
    let path = path.as_ref();
    match (path.strip_prefix("~"), BaseDirs::new()) {
        (Ok(rest), Some(dirs)) => dirs.home_dir().join(rest),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_tilde_alone_at_the_beginning_is_the_home_folder() {
        let home = BaseDirs::new().unwrap().home_dir().to_owned();
        assert_eq!(expand_home("~/below/secret.key"), home.join("below").join("secret.key"));
        for path in ["/~/x", "~user/x", "x/~/y", "./~/x", "", "~~/x"] {
            assert_eq!(expand_home(path), Path::new(path));
        }
    }
}
