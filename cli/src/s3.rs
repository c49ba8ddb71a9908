//! Objects in S3, named as `s3://bucket/key`.

use std::fmt;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};

use crate::failure::Failure;

/// An object.
#[derive(Debug, Clone)]
pub struct Object {
    client: Client,
    bucket: String,
    key: String,
}

impl fmt::Display for Object {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "s3://{}/{}", self.bucket, self.key)
    }
}

/// The bucket and the key of `s3://bucket/key`; `None` for any other text.
pub fn address(text: &str) -> Option<(&str, &str)> {
    let (bucket, key) = text.strip_prefix("s3://")?.split_once('/')?;
    (!bucket.is_empty() && !key.is_empty()).then_some((bucket, key))
}

impl Object {
    /// The object at an address; `None` if the text isn't one.
    pub fn at(client: Client, text: &str) -> Option<Self> {
        let (bucket, key) = address(text)?;
        Some(Self { client, bucket: bucket.to_owned(), key: key.to_owned() })
    }

    /// The object next to this one, whose key is longer by a suffix.
    #[must_use]
    pub fn with_suffix(&self, suffix: &str) -> Self {
        Self { key: format!("{}{suffix}", self.key), ..self.clone() }
    }

    /// Reads it; `None` if there is none.
    ///
    /// # Errors
    /// If the request fails.
    pub async fn read(&self) -> Result<Option<ByteStream>, Failure> {
        match self.client.get_object().bucket(&self.bucket).key(&self.key).send().await {
            Ok(read) => Ok(Some(read.body)),
            Err(error) if error.as_service_error().is_some_and(|error| error.is_no_such_key()) => {
                Ok(None)
            }
            Err(error) => Err(Failure::of(format!("`{self}` can't be read"), &error)),
        }
    }

    /// Writes it whole.
    ///
    /// # Errors
    /// If the request fails.
    pub async fn write(&self, data: Vec<u8>) -> Result<(), Failure> {
        let put = self.client.put_object().bucket(&self.bucket).key(&self.key);
        put.body(ByteStream::from(data))
            .send()
            .await
            .map(|_| ())
            .map_err(|error| Failure::of(format!("`{self}` can't be written"), &error))
    }

    /// Deletes it.
    ///
    /// # Errors
    /// If the request fails.
    pub async fn delete(&self) -> Result<(), Failure> {
        let delete = self.client.delete_object().bucket(&self.bucket).key(&self.key);
        delete
            .send()
            .await
            .map(|_| ())
            .map_err(|error| Failure::of(format!("`{self}` can't be deleted"), &error))
    }

    /// Begins to write it in parts, and returns the id of the upload.
    ///
    /// # Errors
    /// If the request fails.
    pub async fn begin(&self) -> Result<String, Failure> {
        let create = self.client.create_multipart_upload().bucket(&self.bucket).key(&self.key);
        let begun = create.send().await;
        let begun = begun.map_err(|error| self.not_written(&error))?;
        begun.upload_id.ok_or_else(|| Failure::new(format!("the upload of `{self}` has no id")))
    }

    /// Writes a part, and returns its tag. Every part but the last one has at least 5 MiB.
    ///
    /// # Errors
    /// If the request fails.
    pub async fn part(&self, upload: &str, number: i32, data: Vec<u8>) -> Result<String, Failure> {
        let part = self.client.upload_part().bucket(&self.bucket).key(&self.key);
        let written =
            part.upload_id(upload).part_number(number).body(ByteStream::from(data)).send().await;
        let written = written.map_err(|error| self.not_written(&error))?;
        written.e_tag.ok_or_else(|| Failure::new(format!("a part of `{self}` has no tag")))
    }

    /// An upload in parts that was begun and isn't completed, the latest one; `None` if there is none.
    ///
    /// # Errors
    /// If the request fails.
    pub async fn unfinished_upload(&self) -> Result<Option<String>, Failure> {
        let list = self.client.list_multipart_uploads().bucket(&self.bucket).prefix(&self.key);
        let listed = list.send().await.map_err(|error| {
            Failure::of(format!("the uploads of `{self}` can't be listed"), &error).and_advice(format!(
                "An earlier export was interrupted while it began one. Allow \
                 `s3:ListBucketMultipartUploads` on the bucket, to go on with that upload; or remove \
                 `{self}.position`, and find the upload with `aws s3api list-multipart-uploads`."
            ))
        })?;
        let uploads = listed.uploads.unwrap_or_default().into_iter();
        let own = uploads.filter(|upload| upload.key() == Some(&self.key));
        Ok(own.max_by_key(|upload| upload.initiated).and_then(|upload| upload.upload_id))
    }

    /// Makes the object from its parts. If that was done before, it does nothing.
    ///
    /// # Errors
    /// If the request fails.
    pub async fn complete(&self, upload: &str, tags: &[String]) -> Result<(), Failure> {
        let part = |(number, tag): (i32, &String)| {
            CompletedPart::builder().part_number(number).e_tag(tag).build()
        };
        let parts = CompletedMultipartUpload::builder()
            .set_parts(Some((1..).zip(tags).map(part).collect()))
            .build();
        let complete = self.client.complete_multipart_upload().bucket(&self.bucket).key(&self.key);
        let done = complete.upload_id(upload).multipart_upload(parts).send().await;
        let Err(error) = done else { return Ok(()) };
        let is_gone = error.code() == Some("NoSuchUpload");
        match is_gone && self.has_parts(tags.len()).await? {
            true => Ok(()),
            false => Err(self.not_written(&error)),
        }
    }

    /// Whether the object was made from this number of parts, as its tag says:
    /// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html>
    async fn has_parts(&self, parts: usize) -> Result<bool, Failure> {
        match self.client.head_object().bucket(&self.bucket).key(&self.key).send().await {
            Ok(head) => {
                let tag = head.e_tag().unwrap_or_default().trim_matches('"');
                Ok(tag.ends_with(&format!("-{parts}")))
            }
            Err(error) if error.as_service_error().is_some_and(|error| error.is_not_found()) => {
                Ok(false)
            }
            Err(error) => Err(Failure::of(format!("`{self}` can't be read"), &error)),
        }
    }

    fn not_written(&self, error: &(dyn std::error::Error + 'static)) -> Failure {
        Failure::of(format!("`{self}` can't be written"), error)
    }
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn an_address_has_a_bucket_and_a_key() {
        assert_eq!(address("s3://bucket/a/b.gz"), Some(("bucket", "a/b.gz")));
        for wrong in ["bucket/a", "s3://bucket", "s3://bucket/", "s3:///a", "-"] {
            assert_eq!(address(wrong), None, "{wrong}");
        }
    }
}
