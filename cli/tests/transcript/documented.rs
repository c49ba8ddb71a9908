//! The guide `docs/tool.md` shows what the tool prints: each of its commands is run, in their order.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::store::ran;

const GUIDE: &str = include_str!("../../../docs/tool.md");

/// A directory that goes with it.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The commands of the guide, each with what it prints.
fn commands() -> Vec<(&'static str, Vec<&'static str>)> {
    let mut commands: Vec<(&str, Vec<&str>)> = Vec::new();
    let blocks = GUIDE.split("```console\n").skip(1);
    for line in blocks.filter_map(|block| block.split("```").next()).flat_map(str::lines) {
        match (line.strip_prefix("$ "), commands.last_mut()) {
            (Some(command), _) => commands.push((command, Vec::new())),
            (None, Some((_, printed))) => printed.push(line),
            (None, None) => panic!("`{line}` comes before the first command"),
        }
    }
    commands
}

/// The words of a line, without what differs in each run.
fn words(line: &str) -> Vec<String> {
    let word = |word: &str| {
        let is_time = word.len() == 24 && word.ends_with('Z') && word.contains('T');
        let is_distance = word.starts_with('+') && word.ends_with('s');
        let is_rate =
            ["/second", "/minute", "/hour", "/day"].iter().any(|unit| word.ends_with(unit));
        match (is_time, is_distance, is_rate) {
            (true, _, _) => "TIME".to_owned(),
            (_, true, _) => "DISTANCE".to_owned(),
            (_, _, true) => "RATE".to_owned(),
            _ => word.to_owned(),
        }
    };
    line.split_whitespace().map(word).collect()
}

#[test]
fn the_guide_shows_what_the_tool_prints() {
    let name = format!("eventdb-guide-{}", std::process::id());
    let directory = Directory(std::env::temp_dir().join(name));
    std::fs::create_dir_all(&directory.0).expect("a directory");
    let tool = PathBuf::from(env!("CARGO_BIN_EXE_eventdb"));
    let path = format!(
        "{}:{}",
        tool.parent().expect("a directory").display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let commands = commands();
    assert!(commands.len() > 8, "{commands:?}");
    for (command, documented) in commands {
        if command.starts_with("export ") {
            continue;
        }
        let mut shell = Command::new("sh");
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
            shell.env_remove(name);
        }
        let shell = shell.args(["-c", command]).current_dir(&directory.0);
        let shell = shell.env("EVENTDB_FILE", "events.db").env("PATH", &path).stdin(Stdio::null());
        let ran = ran(shell.output().expect("it starts"));
        let printed = format!("{}{}", ran.stdout, ran.stderr);
        let documented: Vec<Vec<String>> = documented.into_iter().map(words).collect();
        let is: Vec<Vec<String>> = printed.lines().map(words).collect();
        assert_eq!(
            documented, is,
            "docs/tool.md shows something else after `{command}`:\n{printed}"
        );
    }
}
