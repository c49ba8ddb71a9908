//! Ctrl-C, and the signal with which others end a program.

use std::io;
use std::process;
use std::sync::{LazyLock, Once};

use futures_util::{TryStream, TryStreamExt};
use tokio::sync::watch;

static REQUESTED: LazyLock<watch::Sender<bool>> = LazyLock::new(|| watch::Sender::new(false));

static LISTENS: Once = Once::new();

/// From now on, Ctrl-C doesn't end the process: [`requested`] tells the running command, which ends in
/// an orderly way. Ctrl-C for the second time ends it immediately.
///
/// A command that never asks is ended by the first one.
pub fn listen() {
    LISTENS.call_once(|| {
        tokio::spawn(async {
            while signal().await.is_ok() {
                if REQUESTED.send_replace(true) {
                    // What the shell expects of a process that Ctrl-C has ended.
                    process::exit(130);
                }
            }
        });
    });
}

/// Waits until the command is asked to stop.
pub async fn requested() {
    listen();
    // It fails only without a sender, and the sender is never dropped.
    let _ = REQUESTED.subscribe().wait_for(|is_requested| *is_requested).await;
}

/// The next item of a stream; `None` at its end, and if the command is asked to stop.
///
/// # Errors
/// That of the stream.
pub async fn next<S: TryStream + Unpin>(stream: &mut S) -> Result<Option<S::Ok>, S::Error> {
    tokio::select! {
        item = stream.try_next() => item,
        () = requested() => Ok(None),
    }
}

/// Whether the command is asked to stop.
pub fn is_requested() -> bool {
    *REQUESTED.borrow()
}

#[cfg(unix)]
async fn signal() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => pressed,
        _ = terminate.recv() => Ok(()),
    }
}

#[cfg(not(unix))]
async fn signal() -> io::Result<()> {
    tokio::signal::ctrl_c().await
}
