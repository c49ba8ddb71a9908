//! Reading lines from a file, from stdin or from S3, also if they are compressed with gzip.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use futures_util::{Stream, stream};
use tokio::sync::mpsc;
use tokio_util::io::SyncIoBridge;

use crate::connection::Session;
use crate::failure::Failure;
use crate::s3::Object;

/// Longest line. An event with its message attributes has at most 1 MiB.
const LONGEST_LINE: u64 = 16 * 1024 * 1024;

/// Lines that are read ahead.
const LINES_AHEAD: usize = 256;

/// How compressed data begins: <https://www.rfc-editor.org/rfc/rfc1952#section-2.3.1>
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Opens a file, `-` for stdin, or an `s3://bucket/key`, and reads its lines.
///
/// # Errors
/// If it can't be opened.
pub async fn open(
    from: &str,
    session: &Session,
) -> Result<impl Stream<Item = io::Result<String>> + Send + use<>, Failure> {
    let source: Box<dyn Read + Send> = if from == "-" {
        Box::new(io::stdin())
    } else if from.starts_with("s3://") {
        let object = Object::at(session.s3().await, from).ok_or_else(|| {
            Failure::new(format!("`{from}` isn't an object; it must be s3://BUCKET/KEY"))
        })?;
        let body = object.read().await?;
        let body = body.ok_or_else(|| Failure::new(format!("there is no `{from}`")))?;
        Box::new(SyncIoBridge::new(body.into_async_read()))
    } else {
        let file = File::open(Path::new(from));
        Box::new(file.map_err(|error| Failure::of(format!("`{from}` can't be read"), &error))?)
    };
    Ok(read(source))
}

/// Reads in a thread, so that waiting for input doesn't keep the rest from running.
fn read(source: Box<dyn Read + Send>) -> impl Stream<Item = io::Result<String>> + Send {
    let (sender, receiver) = mpsc::channel(LINES_AHEAD);
    std::thread::spawn(move || {
        if let Err(error) = send(source, &sender) {
            // Nobody waits for it any more if this fails.
            let _ = sender.blocking_send(Err(error));
        }
    });
    stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|line| (line, receiver))
    })
}

fn send(source: Box<dyn Read + Send>, sender: &mpsc::Sender<io::Result<String>>) -> io::Result<()> {
    let mut source = BufReader::new(source);
    let mut lines: Box<dyn BufRead> = match source.fill_buf()?.starts_with(&GZIP) {
        true => Box::new(BufReader::new(MultiGzDecoder::new(source))),
        false => Box::new(source),
    };
    loop {
        let mut line = Vec::new();
        let length = lines.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)?;
        if length == 0 {
            return Ok(());
        }
        if line.last() != Some(&b'\n') && line.len() as u64 == LONGEST_LINE {
            let problem = format!("it is longer than {LONGEST_LINE} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        }
        let text = String::from_utf8(line)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.utf8_error()));
        let is_invalid = text.is_err();
        if sender.blocking_send(text).is_err() || is_invalid {
            return Ok(());
        }
    }
}
