//! How far long work is: a line on the terminal that is gone when the work ends.
//!
//! Nothing is drawn if stderr isn't a terminal.

use std::fmt;
use std::future::Future;
use std::sync::LazyLock;
use std::time::Duration;

use eventdb::CapacityMeter;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// How often the line changes while nothing is added to it.
const DRAWN_EVERY: Duration = Duration::from_millis(200);

static LINES: LazyLock<MultiProgress> =
    LazyLock::new(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));

/// The progress of some work.
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// Work on this number of things, or on an unknown number. The name of the things is in the plural.
    pub fn new(things: &str, total: Option<u64>) -> Self {
        let (bar, template) = match total {
            Some(total) => (
                ProgressBar::new(total),
                "{spinner} {human_pos} of {human_len} {msg} ({percent} %), {rate}, {eta} left",
            ),
            None => (ProgressBar::new_spinner(), "{spinner} {human_pos} {msg}, {rate}, {elapsed}"),
        };
        let bar = LINES.add(bar);
        if let Ok(style) = ProgressStyle::with_template(template) {
            // Nothing can be done about a terminal that can't be written.
            let rate = |state: &ProgressState, line: &mut dyn fmt::Write| {
                let _ = write!(line, "{:.0}/s", state.per_sec());
            };
            bar.set_style(style.with_key("rate", rate));
        }
        bar.set_message(things.to_owned());
        if !bar.is_hidden() {
            bar.enable_steady_tick(DRAWN_EVERY);
        }
        Self(bar)
    }

    /// So many more are done.
    pub fn add(&self, done: usize) {
        self.0.inc(u64::try_from(done).unwrap_or(u64::MAX));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
        LINES.remove(&self.0);
    }
}

/// Does the work, and shows the read units that it consumes, of an estimated number.
pub async fn of_read_units<Done>(
    meter: &CapacityMeter,
    estimate: Option<u64>,
    work: impl Future<Output = Done>,
) -> Done {
    let progress = Progress::new("read units", estimate);
    let before = meter.total().read_units;
    let mut interval = tokio::time::interval(DRAWN_EVERY);
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = interval.tick() => {
                let consumed = whole(meter.total().read_units - before);
                if estimate.is_some_and(|estimate| consumed > estimate) {
                    progress.0.set_length(consumed);
                }
                progress.0.set_position(consumed);
            }
        }
    }
}

/// Prints something while no line of progress is on the terminal.
pub(crate) fn aside<Done>(print: impl FnOnce() -> Done) -> Done {
    LINES.suspend(print)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float saturates")]
fn whole(units: f64) -> u64 {
    units as u64
}
