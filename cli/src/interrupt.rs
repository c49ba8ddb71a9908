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
/// A command listens before it says that it works, because those who read that may press Ctrl-C
/// immediately. A command that never asks is ended by the first one.
pub fn listen() {
    LISTENS.call_once(|| {
        // Where there are no signals, the process ends as it always would.
        let Ok(mut signals) = Signals::new() else { return };
        tokio::spawn(async move {
            while signals.next().await.is_some() {
                if REQUESTED.send_replace(true) {
                    // What the shell expects of a process that Ctrl-C has ended.
                    process::exit(130);
                }
            }
        });
    });
}

/// Waits until the command is asked to stop. It listens from the call on, not only once it is awaited.
pub fn requested() -> impl Future<Output = ()> + Send {
    listen();
    async {
        // It fails only without a sender, and the sender is never dropped.
        let _ = REQUESTED.subscribe().wait_for(|is_requested| *is_requested).await;
    }
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

/// The signals, from its creation on: none is lost between two of them.
#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};

        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) -> Option<()> {
        tokio::select! {
            pressed = self.interrupt.recv() => pressed,
            asked = self.terminate.recv() => asked,
        }
    }
}

#[cfg(windows)]
struct Signals(tokio::signal::windows::CtrlC);

#[cfg(windows)]
impl Signals {
    fn new() -> io::Result<Self> {
        tokio::signal::windows::ctrl_c().map(Self)
    }

    async fn next(&mut self) -> Option<()> {
        self.0.recv().await
    }
}
