//! From the call on, Ctrl-C asks the command to stop instead of ending the process.
#![cfg(unix)]

use std::process::{self, Command};

use eventdb_cli::interrupt;

/// It is the only test of its process, which the signal would end otherwise.
#[tokio::test]
async fn ctrl_c_is_noticed_before_anyone_waits_for_it() {
    let requested = interrupt::requested();
    let id = process::id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().expect("it starts").success());
    requested.await;
    assert!(interrupt::is_requested());
}
