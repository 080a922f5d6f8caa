//! A clock on the wall that is wrong, for a process. Needs `faketime` on Linux.

/// The library that turns it; CI must have it.
#[cfg(target_os = "linux")]
pub(crate) async fn library() -> Option<String> {
    let mut faketime = tokio::process::Command::new("faketime");
    let Ok(told) = faketime.args(["-f", "+1h", "printenv", "LD_PRELOAD"]).output().await else {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "CI must have faketime");
        eprintln!("skipped: faketime is not installed");
        return None;
    };
    Some(String::from_utf8_lossy(&told.stdout).trim_end().to_owned())
}

/// The words before a command line whose process finds this clock off by so much; the one that only runs is right.
pub(crate) fn with_clock(library: &str, offset: &str) -> Vec<String> {
    let (library, offset) = (format!("LD_PRELOAD={library}"), format!("FAKETIME={offset}"));
    vec!["env".to_owned(), library, offset, "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned()]
}
