//! A store in a file, and the tool that runs on it.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use eventdb::TableLayout;
use serde_json::Value;

use crate::output_schema;

/// Both layouts.
pub(crate) const LAYOUTS: [TableLayout; 2] = [TableLayout::ByTime, TableLayout::ByRevision];

/// A store in a new file.
pub(crate) struct Store {
    pub(crate) file: PathBuf,
}

impl Drop for Store {
    fn drop(&mut self) {
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", self.file.display()));
        }
    }
}

/// A command that has ended.
pub(crate) struct Ran {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Store {
    pub(crate) fn new(name: &str, layout: TableLayout) -> Self {
        let file = std::env::temp_dir()
            .join(format!("eventdb-transcript-{}-{name}-{layout}.db", std::process::id()));
        let store = Self { file };
        let layout = layout.to_string();
        let created = store.run(&[
            "create-table",
            "--table",
            "Events",
            "--feed",
            "Feed",
            "--layout",
            &layout,
        ]);
        assert_eq!(created.status, 0, "{}", created.stderr);
        store
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_eventdb"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
            command.env_remove(name);
        }
        command.args(arguments).env("EVENTDB_FILE", &self.file).stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        ran(self.command(arguments).output().expect("it starts"))
    }

    /// The lines of JSON that a command prints. Each is checked against the schema.
    pub(crate) fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let ran = self.run(&[&["--json"], arguments].concat());
        assert_ne!(ran.status, 2, "{}", ran.stderr);
        output_schema::lines(&ran.stdout)
    }

    pub(crate) fn append(&self, subject: &str, data: &str) {
        self.append_with(subject, &["--data", data], "book.borrowed");
    }

    pub(crate) fn append_with(&self, subject: &str, rest: &[&str], ty: &str) {
        let arguments = ["append", subject, ty, "--source", "https://library.example.com", "--yes"];
        let ran = self.run(&[&arguments, rest].concat());
        assert_eq!(ran.status, 0, "{}", ran.stderr);
    }
}

/// What a command has printed.
pub(crate) fn ran(output: Output) -> Ran {
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Ran {
        status: output.status.code().expect("an exit status"),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}
