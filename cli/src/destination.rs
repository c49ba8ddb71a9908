//! Writing an export to a file, to stdout or to S3, so that it can be continued.
//!
//! Next to an unfinished file or object is its position, in the file or object with the suffix
//! `.position`: how far it goes, and with which options. The next export to the same place goes on there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use eventdb::ExportCursor;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};

use crate::connection::Session;
use crate::failure::Failure;
use crate::output::{Output, Stopped};
use crate::s3::Object;
use crate::verbs::Ended;

/// Bytes of text after which a position is kept.
const BYTES_PER_CHECKPOINT: usize = 4 * 1024 * 1024;

/// Least bytes of a part in S3, for the first ones.
const BYTES_PER_PART: usize = 8 * 1024 * 1024;

/// After so many parts, they become larger: an object has at most 10,000.
const PARTS_OF_ONE_SIZE: usize = 1_000;

const SUFFIX: &str = ".position";

/// How far an export goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The table and the options of the export.
    pub choice: String,
    /// After which cursor it goes on.
    pub cursor: Option<String>,
    /// Events that are in it.
    pub events: u64,
    /// Bytes that are in the file.
    bytes: u64,
    /// The upload to S3.
    upload: Option<String>,
    /// The tags of the parts in S3.
    parts: Vec<String>,
    /// Everything is written. An export that is continued has only to be completed.
    #[serde(default)]
    is_whole: bool,
}

/// Where an export goes.
#[derive(Debug)]
pub struct Destination {
    place: Place,
    /// Each checkpoint ends a member of the gzip format, and a file of several members is valid.
    compressed: bool,
    position: Position,
    /// Whether a position is kept next to it.
    is_kept: bool,
    text: Vec<u8>,
    /// How much of the text, and how many events, precede the cursor of the position.
    reached: (usize, u64),
    /// What waits for its part in S3.
    part: Vec<u8>,
}

#[derive(Debug)]
enum Place {
    Stdout,
    File(PathBuf, File),
    S3(Object),
}

impl Destination {
    /// Opens it, at the position of an earlier export if there is one.
    ///
    /// # Errors
    /// If it can't be opened, if it exists already, or if it was begun with other options.
    pub async fn open(
        to: &str,
        gzip: bool,
        choice: String,
        session: &Session,
    ) -> Result<Self, Failure> {
        let compressed = gzip || to.ends_with(".gz");
        let new = Position { choice, ..Position::default() };
        let (place, position, is_kept) = if to == "-" {
            (Place::Stdout, new, false)
        } else if to.starts_with("s3://") {
            let object = Object::at(session.s3().await, to).ok_or_else(|| {
                Failure::new(format!("`{to}` isn't an object; it must be s3://BUCKET/KEY"))
            })?;
            open_object(object, new).await?
        } else {
            open_file(to, new)?
        };
        let reached = (0, position.events);
        let (text, part) = (Vec::new(), Vec::new());
        Ok(Self { place, compressed, position, is_kept, text, reached, part })
    }

    /// How far it goes.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// Whether an earlier export has written everything, so that nothing is to be added.
    pub fn is_whole(&self) -> bool {
        self.position.is_whole
    }

    /// Whether the events go to stdout.
    pub fn is_stdout(&self) -> bool {
        matches!(self.place, Place::Stdout)
    }

    /// Adds an event.
    pub fn add(&mut self, line: &str) {
        self.text.extend_from_slice(line.as_bytes());
        self.text.push(b'\n');
        self.position.events += 1;
    }

    /// The export can go on after this cursor. Sometimes, what was added is written and the position is
    /// kept.
    ///
    /// # Errors
    /// If it can't be written.
    pub async fn reached(
        &mut self,
        cursor: ExportCursor,
        output: &mut Output,
    ) -> Result<(), Ended> {
        self.position.cursor = Some(cursor.to_string());
        self.reached = (self.text.len(), self.position.events);
        match self.text.len() >= BYTES_PER_CHECKPOINT || self.is_stdout() {
            true => self.write(output, false).await,
            false => Ok(()),
        }
    }

    /// Keeps the position, to go on later.
    ///
    /// # Errors
    /// If it can't be written.
    pub async fn suspend(&mut self, output: &mut Output) -> Result<(), Ended> {
        // What follows the cursor is exported again.
        (_, self.position.events) = self.reached;
        self.text.truncate(self.reached.0);
        match self.place {
            // A part that is too small can't be followed by another one. What is in it is exported again.
            Place::S3(_) => Ok(()),
            _ => self.write(output, false).await,
        }
    }

    /// Everything was added.
    ///
    /// # Errors
    /// If it can't be written.
    pub async fn finish(mut self, output: &mut Output) -> Result<Position, Ended> {
        if !self.is_whole() {
            self.position.is_whole = true;
            self.write(output, true).await?;
        }
        match &self.place {
            Place::Stdout => {}
            Place::File(path, _) => {
                let removed = fs::remove_file(position_of(path));
                if let Err(error) = removed
                    && error.kind() != io::ErrorKind::NotFound
                {
                    return Err(Failure::of("the position can't be removed", &error).into());
                }
            }
            Place::S3(object) => {
                match &self.position.upload {
                    Some(upload) => object.complete(upload, &self.position.parts).await?,
                    None => object.write(std::mem::take(&mut self.part)).await?,
                }
                if self.is_kept {
                    object.with_suffix(SUFFIX).delete().await?;
                }
            }
        }
        Ok(self.position)
    }

    async fn write(&mut self, output: &mut Output, is_end: bool) -> Result<(), Ended> {
        let text = std::mem::take(&mut self.text);
        self.reached.0 = 0;
        let data = match self.compressed && !text.is_empty() {
            true => compress(&text).map_err(Stopped::ByError)?,
            false => text,
        };
        match &mut self.place {
            Place::Stdout => {
                output.data(&data)?;
                output.flush()?;
            }
            Place::File(path, file) => {
                self.position.bytes += u64::try_from(data.len()).unwrap_or(u64::MAX);
                write_file(path, file, &data, &self.position).map_err(|error| {
                    Failure::of(format!("`{}` can't be written", path.display()), &error)
                })?;
            }
            Place::S3(object) => {
                self.part.extend_from_slice(&data);
                // A small export is one object without parts.
                let is_whole = is_end && self.position.upload.is_none();
                let least = bytes_of_part(self.position.parts.len());
                let is_part = self.part.len() >= least || is_end && !self.part.is_empty();
                if is_part && !is_whole {
                    let upload = match &self.position.upload {
                        Some(upload) => upload.clone(),
                        None => begin(object, &self.position.choice).await?,
                    };
                    self.is_kept = true;
                    let number = i32::try_from(self.position.parts.len() + 1).unwrap_or(i32::MAX);
                    let part = std::mem::take(&mut self.part);
                    let tag = object.part(&upload, number, part).await?;
                    self.position.upload = Some(upload);
                    self.position.parts.push(tag);
                    keep(object, &self.position).await?;
                }
            }
        }
        Ok(())
    }
}

/// Least bytes of the part that follows this number of parts.
fn bytes_of_part(parts: usize) -> usize {
    BYTES_PER_PART * (1 + parts / PARTS_OF_ONE_SIZE)
}

/// Begins to write an object in parts. The position is kept before and after: if the process is killed in
/// between, the next export looks for the upload, so that none is left behind.
async fn begin(object: &Object, choice: &str) -> Result<String, Failure> {
    let mut position = Position { choice: choice.to_owned(), ..Position::default() };
    keep(object, &position).await?;
    let upload = object.begin().await?;
    position.upload = Some(upload.clone());
    keep(object, &position).await?;
    Ok(upload)
}

async fn keep(object: &Object, position: &Position) -> Result<(), Failure> {
    let position = serde_json::to_vec(position)
        .map_err(|error| Failure::of("the position can't be written as JSON", &error))?;
    object.with_suffix(SUFFIX).write(position).await
}

fn compress(text: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text)?;
    encoder.finish()
}

fn position_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(SUFFIX);
    name.into()
}

fn open_file(to: &str, new: Position) -> Result<(Place, Position, bool), Failure> {
    let path = PathBuf::from(to);
    let failed = |error: &io::Error| Failure::of(format!("`{to}` can't be opened"), error);
    let kept = match fs::read(position_of(&path)) {
        Ok(kept) => Some(kept),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed(&error)),
    };
    let Some(kept) = kept else {
        let file = OpenOptions::new().write(true).create_new(true).open(&path);
        let file = file.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Failure::new(format!("`{to}` exists already"))
                .advice("Choose another name, or remove the file first."),
            _ => failed(&error),
        })?;
        return Ok((Place::File(path, file), new, false));
    };
    let position = continued(&kept, &new, to)?;
    let open = || {
        let mut file = OpenOptions::new().write(true).open(&path)?;
        // What was written after the last checkpoint is exported again.
        file.set_len(position.bytes)?;
        file.seek(SeekFrom::End(0))?;
        Ok(file)
    };
    let file = open().map_err(|error: io::Error| failed(&error))?;
    Ok((Place::File(path, file), position, true))
}

async fn open_object(object: Object, new: Position) -> Result<(Place, Position, bool), Failure> {
    let kept = match object.with_suffix(SUFFIX).read().await? {
        Some(kept) => Some(kept.collect().await.map_err(|error| {
            Failure::of(format!("the position of `{object}` can't be read"), &error)
        })?),
        None => None,
    };
    let Some(kept) = kept else { return Ok((Place::S3(object), new, false)) };
    let mut position = continued(&kept.into_bytes(), &new, &object.to_string())?;
    if position.upload.is_none() {
        position.upload = object.unfinished_upload().await?;
    }
    Ok((Place::S3(object), position, true))
}

/// The kept position, if it belongs to the same export.
fn continued(kept: &[u8], new: &Position, to: &str) -> Result<Position, Failure> {
    let advice = format!("To begin anew, remove `{to}{SUFFIX}` and `{to}`.");
    let position: Position = serde_json::from_slice(kept).map_err(|error| {
        Failure::of(format!("`{to}{SUFFIX}` isn't the position of an export"), &error)
            .advice(advice.clone())
    })?;
    let advice = match &position.upload {
        Some(upload) => format!(
            "{advice} Before, remove its parts: aws s3api abort-multipart-upload --bucket BUCKET --key KEY \
             --upload-id {upload}"
        ),
        None => advice,
    };
    match position.choice == new.choice {
        true => Ok(position),
        false => Err(Failure::new(format!(
            "`{to}` was begun with other options: {}; now they are {}",
            position.choice, new.choice
        ))
        .advice(advice)),
    }
}

fn write_file(path: &Path, file: &mut File, data: &[u8], position: &Position) -> io::Result<()> {
    file.write_all(data)?;
    file.sync_data()?;
    // Renamed when it is complete, so that there is always a whole one.
    let place = position_of(path);
    let mut temporary = place.as_os_str().to_owned();
    temporary.push(".new");
    fs::write(&temporary, serde_json::to_vec(position)?)?;
    fs::rename(&temporary, place)
}

#[cfg(test)]
mod tests {
    use super::bytes_of_part;

    #[test]
    fn an_object_of_400_gb_fits_in_10_000_parts() {
        assert_eq!(bytes_of_part(0), bytes_of_part(999));
        let all: usize = (0..10_000).map(bytes_of_part).sum();
        assert!(all > 400_000_000_000, "{all}");
    }
}
