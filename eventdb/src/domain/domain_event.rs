//! Typed events: converting a serde enum to and from the `type` and `data` of an event.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, EnumAccess, Expected, VariantAccess, Visitor};
use serde::{Deserializer, Serialize};
use serde_json::{Map, Value};
use serde_path_to_error::{Segment, Track};

use crate::domain::json;
use crate::domain::upcaster::{self, Upcaster};
use crate::event::candidate::EventCandidate;
use crate::event::path::Path;
use crate::event::{Event, decimal};
use crate::schema::attribute;

/// The events of a domain as a serde enum. The names of the variants are the CloudEvents types, and
/// the contents of a variant are the data.
///
/// The enum must be in serde's default form (externally tagged). A variant has named fields, a single
/// unnamed field that is a struct, or no fields. `#[serde(rename = "…")]` sets the type.
/// [`UNKNOWN_TYPES`](Self::UNKNOWN_TYPES) says what happens to events with other types, and
/// [`UPCASTERS`](Self::UPCASTERS) convert old shapes.
///
/// [`EventCandidate::typed`], [`Event::typed`] and a [`Repository`] convert between the two. Before an
/// event is written, it is read back: an event that couldn't be read again is refused.
///
/// [`Repository`]: crate::Repository
///
/// ```
/// use eventdb::{DomainEvent, EventCandidate, UnknownTypes};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, PartialEq, Serialize, Deserialize)]
/// enum BookEvent {
///     #[serde(rename = "book.borrowed", rename_all = "camelCase")]
///     Borrowed { user_id: String },
///     #[serde(rename = "book.returned")]
///     Returned,
/// }
///
/// impl DomainEvent for BookEvent {
///     const UNKNOWN_TYPES: UnknownTypes = UnknownTypes::Reject;
/// }
///
/// let borrowed = BookEvent::Borrowed { user_id: "user:456".to_owned() };
/// let candidate = EventCandidate::typed(&borrowed, "https://library.example.com", "book:123")?;
/// assert_eq!(candidate.ty, "book.borrowed");
/// assert_eq!(candidate.data, serde_json::json!({ "userId": "user:456" }));
/// # Ok::<(), eventdb::UnwritableEvent>(())
/// ```
pub trait DomainEvent: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// What happens to an event whose type isn't a variant.
    const UNKNOWN_TYPES: UnknownTypes;

    /// Converters for events of old shapes. Default: none.
    const UPCASTERS: &'static [Upcaster] = &[];

    /// The URI of the schema for the `dataschema` of new events. Default: none.
    fn dataschema(&self) -> Option<&str> {
        None
    }
}

/// What happens to an event whose type isn't a variant of the [`DomainEvent`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownTypes {
    /// It is ignored: for readers that need only some types of a subject.
    Ignore,
    /// It is an error: for decisions that must know the whole history.
    Reject,
}

/// A stored event that can't be read as a [`DomainEvent`].
///
/// The message contains the event's key and the path of the wrong value, but no value of the data.
/// The [`source`](std::error::Error::source) is serde's error, which may quote a value.
#[derive(Debug)]
#[non_exhaustive]
pub struct UnreadableEvent {
    /// The event's id.
    pub id: String,
    /// Its subject.
    pub subject: String,
    /// Its revision, if it has one.
    pub revision: Option<u64>,
    /// Its type, as stored.
    pub ty: String,
    /// What is wrong.
    pub reason: ShapeError,
}

impl fmt::Display for UnreadableEvent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, subject, revision, ty, reason } = self;
        write!(formatter, "the event `{id}` of `{subject}`")?;
        if let Some(revision) = revision {
            write!(formatter, ", revision {revision}")?;
        }
        write!(formatter, ", type `{ty}`, can't be read: {reason}")
    }
}

/// The message contains the reason, so the source is the cause of the reason.
impl std::error::Error for UnreadableEvent {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.reason.source()
    }
}

/// A domain event that can't be written, or that couldn't be read again afterwards.
///
/// The message contains the type and the path of the wrong value, but no value of the data. The
/// [`source`](std::error::Error::source) is serde's error, which may quote a value.
///
/// ```
/// use eventdb::{DomainEvent, EventCandidate, UnknownTypes};
/// # use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// enum BookEvent {
///     #[serde(rename = "book.renamed")]
///     Renamed(String),
/// }
/// # impl DomainEvent for BookEvent { const UNKNOWN_TYPES: UnknownTypes = UnknownTypes::Reject; }
///
/// let renamed = BookEvent::Renamed("Dune".to_owned());
/// let error = EventCandidate::typed(&renamed, "https://library.example.com", "book:1").unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "the domain event `book.renamed` can't be written: the variant `book.renamed` doesn't hold \
///      an object; a variant must have named fields, hold one struct, or hold nothing"
/// );
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct UnwritableEvent {
    /// The type that the event would have; `None` if the Rust type doesn't determine it.
    pub ty: Option<String>,
    /// What is wrong.
    pub reason: ShapeError,
}

impl fmt::Display for UnwritableEvent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the domain event ")?;
        if let Some(ty) = &self.ty {
            write!(formatter, "`{ty}` ")?;
        }
        write!(formatter, "can't be written: {}", self.reason)
    }
}

/// The message contains the reason, so the source is the cause of the reason.
impl std::error::Error for UnwritableEvent {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.reason.source()
    }
}

/// Why an event and a [`DomainEvent`] don't match.
///
/// A path goes from the event to the value, such as `data.lines.0.price`. If serde buffers what it
/// reads (`flatten`, and enums in the data with `tag` or `untagged`), the path ends at the buffered
/// value.
#[derive(Debug)]
#[non_exhaustive]
pub enum ShapeError {
    /// The type isn't a variant, and [`UnknownTypes::Reject`] was chosen.
    UnknownType {
        /// The types of the variants.
        allowed: &'static [&'static str],
    },
    /// The stored data doesn't have the shape of its variant.
    Data {
        /// The path in the event.
        path: String,
        /// Serde's error.
        source: serde_json::Error,
    },
    /// A value can't be written as JSON.
    Unserializable {
        /// The path in the event.
        path: String,
        /// Serde's error.
        source: serde_json::Error,
    },
    /// The event couldn't be read again from its JSON.
    NotReadBack {
        /// The path in the event.
        path: String,
        /// Whether the value becomes `null` in JSON, as NaN and the infinite numbers do.
        null: bool,
        /// Serde's error.
        source: serde_json::Error,
    },
    /// The event would be read from its JSON as a different event.
    ReadAsAnother {
        /// The path of the first difference.
        path: String,
    },
    /// The contents of a variant aren't a JSON object.
    NoObject {
        /// The variant.
        variant: String,
    },
    /// The Rust type isn't an enum in serde's default form.
    NoEnum {
        /// The form that it has instead.
        form: &'static str,
    },
    /// An upcaster can't convert the event.
    Upcaster {
        /// The type or the schema that the upcaster is for.
        from: &'static str,
        /// The upcaster's error.
        reason: String,
    },
}

impl fmt::Display for ShapeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownType { allowed } => {
                formatter.write_str("the type is unknown; it must be one of ")?;
                for (index, ty) in allowed.iter().enumerate() {
                    write!(formatter, "{}`{ty}`", if index == 0 { "" } else { ", " })?;
                }
                Ok(())
            }
            Self::Data { path, .. } => {
                write!(formatter, "`{path}` doesn't have the shape of the event's type")
            }
            Self::Unserializable { path, .. } => {
                write!(formatter, "`{path}` can't be written as JSON")
            }
            Self::NotReadBack { path, null: false, .. } => {
                write!(formatter, "`{path}` couldn't be read again once it is stored")
            }
            Self::NotReadBack { path, null: true, .. } => write!(
                formatter,
                "`{path}` would be stored as null, as NaN and infinite numbers are, and couldn't \
                 be read again"
            ),
            Self::ReadAsAnother { path } => write!(
                formatter,
                "`{path}` would be read back as something else than what is written"
            ),
            Self::NoObject { variant } => write!(
                formatter,
                "the variant `{variant}` doesn't hold an object; a variant must have named \
                 fields, hold one struct, or hold nothing"
            ),
            Self::NoEnum { form } => write!(
                formatter,
                "the Rust type is {form}; it must be an enum in serde's default form (externally \
                 tagged), without `tag`, `content` and `untagged`"
            ),
            Self::Upcaster { from, reason } => {
                write!(formatter, "its upcaster from `{from}` failed: {reason}")
            }
        }
    }
}

impl std::error::Error for ShapeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Data { source, .. }
            | Self::Unserializable { source, .. }
            | Self::NotReadBack { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl EventCandidate {
    /// A candidate for a typed event. The variant's name becomes the type, and its contents the data.
    ///
    /// First, the event is read back from its JSON, with its upcasters, as every reader will do.
    /// Written again, it must give the same JSON, except for the order of arrays, because a set has no
    /// order. So serde attributes may leave out or round values when an event is *written*. But an
    /// event that can't be read again, or that would be read as a different event, is refused. JSON
    /// has no NaN and no infinite numbers: they become `null`, which can be read as an `Option<f64>`
    /// but not as an `f64`.
    ///
    /// # Errors
    /// [`UnwritableEvent`] if the value can't be serialized, if its contents aren't an object, or if
    /// it can't be read back.
    ///
    /// ```
    /// # use eventdb::{DomainEvent, EventCandidate, UnknownTypes};
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # enum BookEvent {
    /// #     #[serde(rename = "book.returned")] Returned,
    /// #     #[serde(rename = "book.weighed")] Weighed { grams: f64 },
    /// # }
    /// # impl DomainEvent for BookEvent { const UNKNOWN_TYPES: UnknownTypes = UnknownTypes::Reject; }
    /// let source = "https://library.example.com";
    /// let candidate = EventCandidate::typed(&BookEvent::Returned, source, "book:123")?;
    /// assert_eq!(candidate.data, serde_json::json!({}));
    ///
    /// let weighed = BookEvent::Weighed { grams: f64::NAN };
    /// let error = EventCandidate::typed(&weighed, source, "book:123").unwrap_err();
    /// assert!(error.to_string().contains("`data.grams` would be stored as null"));
    /// # Ok::<(), eventdb::UnwritableEvent>(())
    /// ```
    pub fn typed<E: DomainEvent>(
        event: &E,
        source: impl Into<String>,
        subject: impl Into<String>,
    ) -> Result<Self, UnwritableEvent> {
        Self::typed_and_read_back(event, source, subject).map(|(candidate, _)| candidate)
    }

    /// The candidate, and the event as every reader will see it.
    pub(crate) fn typed_and_read_back<E: DomainEvent>(
        event: &E,
        source: impl Into<String>,
        subject: impl Into<String>,
    ) -> Result<(Self, E), UnwritableEvent> {
        let Written { ty, data, dataschema, read } = write(event)?;
        let candidate = Self {
            extensions: std::collections::BTreeMap::new(),
            id: None,
            source: source.into(),
            ty,
            subject: subject.into(),
            data: Value::Object(data).into(),
            datacontenttype: None,
            dataschema,
        };
        Ok((candidate, read))
    }
}

impl Event {
    /// The event as your type, after its upcasters; `None` if its type is unknown and
    /// [`UnknownTypes::Ignore`] was chosen.
    ///
    /// # Errors
    /// [`UnreadableEvent`] if the type is unknown and [`UnknownTypes::Reject`] was chosen, if an
    /// upcaster fails, or if the data doesn't have the shape of its variant.
    ///
    /// ```
    /// # use eventdb::{DomainEvent, Event, UnknownTypes};
    /// # #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    /// # enum BookEvent { #[serde(rename = "book.returned")] Returned }
    /// # impl DomainEvent for BookEvent { const UNKNOWN_TYPES: UnknownTypes = UnknownTypes::Reject; }
    /// # let event: Event = serde_json::from_str(r#"{"specversion":"1.0","id":"evt-1",
    /// #   "source":"https://library.example.com","type":"book.returned","subject":"book:123",
    /// #   "time":"2025-01-28T14:30:00.000Z","data":{}}"#)?;
    /// assert_eq!(event.typed::<BookEvent>()?, Some(BookEvent::Returned));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn typed<E: DomainEvent>(&self) -> Result<Option<E>, Box<UnreadableEvent>> {
        read_event(self).map_err(|reason| {
            Box::new(UnreadableEvent {
                id: self.id.clone(),
                subject: self.subject.clone(),
                revision: self.revision,
                ty: self.ty.clone(),
                reason,
            })
        })
    }
}

fn read_event<E: DomainEvent>(event: &Event) -> Result<Option<E>, ShapeError> {
    let dataschema = event.dataschema.as_deref();
    // Text is read as it is. Only upcasters and messages about errors need a tree.
    if event.data.known_value().is_none()
        && let Some(text) = event.data.known_json()
        && !upcaster::is_needed(&event.ty, dataschema, E::UPCASTERS)
        && let Ok(read) = E::deserialize(Typed { ty: &event.ty, data: Contents::Text(text) })
    {
        return Ok(Some(read));
    }
    read(&event.ty, dataschema, &event.data)
}

/// The domain event of a type and data, after its upcasters; `None` if its type is unknown and
/// should be ignored.
fn read<E: DomainEvent>(
    ty: &str,
    dataschema: Option<&str>,
    data: &Value,
) -> Result<Option<E>, ShapeError> {
    let lifted = upcaster::lift(ty, dataschema, data, E::UPCASTERS)?
        .map(|shape| (shape.ty, Value::Object(shape.data)));
    let (ty, data) = lifted.as_ref().map_or((ty, data), |(ty, data)| (ty, data));
    let event = match E::deserialize(Typed { ty, data: Contents::Tree(data) }) {
        // Tracking the path takes time, so do it only after an error.
        Err(TypedError(ShapeError::Data { .. })) => {
            E::deserialize(Typed { ty, data: Contents::Traced(data) })
        }
        read => read,
    };
    match (event, E::UNKNOWN_TYPES) {
        (Ok(event), _) => Ok(Some(event)),
        (Err(TypedError(ShapeError::UnknownType { .. })), UnknownTypes::Ignore) => Ok(None),
        (Err(TypedError(reason)), _) => Err(reason),
    }
}

/// A domain event as it is stored, and as it is read back.
struct Written<E> {
    ty: String,
    data: Map<String, Value>,
    dataschema: Option<String>,
    read: E,
}

/// Writes a domain event and reads it back.
fn write<E: DomainEvent>(event: &E) -> Result<Written<E>, UnwritableEvent> {
    let (ty, data) = parts(event).map_err(|reason| match reason {
        // Another form of enum may look like this. Report the form first.
        ShapeError::NoObject { variant } => match form_fault::<E>() {
            Some(fault) => UnwritableEvent { ty: None, reason: fault },
            None => UnwritableEvent {
                ty: Some(variant.clone()),
                reason: ShapeError::NoObject { variant },
            },
        },
        reason => UnwritableEvent { ty: None, reason },
    })?;
    let dataschema = event.dataschema().map(str::to_owned);
    match read_back(&ty, dataschema.as_deref(), &data) {
        Ok(read) => Ok(Written { ty, data, dataschema, read }),
        Err(reason @ ShapeError::NoEnum { .. }) => Err(UnwritableEvent { ty: None, reason }),
        Err(reason) => Err(UnwritableEvent { ty: Some(ty), reason }),
    }
}

/// The event as it will be read, or an error if it differs from the written one.
fn read_back<E: DomainEvent>(
    ty: &str,
    dataschema: Option<&str>,
    data: &Map<String, Value>,
) -> Result<E, ShapeError> {
    let mut stored = Value::Object(data.clone());
    decimal::make_canonical(&mut stored);
    let event: E = match read(ty, dataschema, &stored) {
        Ok(Some(event)) => event,
        Ok(None) => return Err(ShapeError::ReadAsAnother { path: "type".to_owned() }),
        Err(ShapeError::Data { path, source }) => {
            let null = source.to_string().starts_with("invalid type: null");
            return Err(ShapeError::NotReadBack { path, null, source });
        }
        Err(ShapeError::UnknownType { .. }) => {
            return Err(ShapeError::ReadAsAnother { path: "type".to_owned() });
        }
        Err(other) => return Err(other),
    };
    let (ty_again, again) = parts(&event)?;
    let mut again = Value::Object(again);
    decimal::make_canonical(&mut again);
    if ty_again != ty {
        return Err(ShapeError::ReadAsAnother { path: "type".to_owned() });
    }
    match json::difference(&stored, &again, &Path::new(attribute::DATA)) {
        Some(path) => Err(ShapeError::ReadAsAnother { path }),
        None => Ok(event),
    }
}

/// The type and the data of a domain event.
fn parts<E: DomainEvent>(event: &E) -> Result<(String, Map<String, Value>), ShapeError> {
    let written = serde_json::to_value(event).map_err(|source| {
        let mut track = Track::new();
        let serializer = serde_json::value::Serializer;
        let traced = serde_path_to_error::Serializer::new(serializer, &mut track);
        // Cause the same error again to get its path.
        let source = event.serialize(traced).err().unwrap_or(source);
        let path = track.path();
        // The first name is that of the variant, which is the type.
        let is_type = |segment: &&Segment| matches!(segment, Segment::Enum { .. });
        let skipped = usize::from(path.iter().next().as_ref().is_some_and(is_type));
        let path = path_in_event(path.iter().skip(skipped));
        ShapeError::Unserializable { path, source }
    })?;
    let no_variant = || {
        let form = "written as something else than one variant";
        form_fault::<E>().unwrap_or(ShapeError::NoEnum { form })
    };
    match written {
        Value::String(variant) => Ok((variant, Map::new())),
        Value::Object(object) => {
            let mut members = object.into_iter();
            match (members.next(), members.next()) {
                (Some((variant, Value::Object(data))), None) => Ok((variant, data)),
                (Some((variant, _)), None) => Err(ShapeError::NoObject { variant }),
                _ => Err(no_variant()),
            }
        }
        _ => Err(no_variant()),
    }
}

/// The form of a Rust type that isn't an enum in serde's default form.
fn form_fault<E: DomainEvent>() -> Option<ShapeError> {
    match E::deserialize(Typed { ty: "", data: Contents::Tree(&Value::Null) }) {
        Err(TypedError(fault @ ShapeError::NoEnum { .. })) => Some(fault),
        _ => None,
    }
}

/// A path within the data as a path in the event.
fn path_in_event<'path>(segments: impl Iterator<Item = &'path Segment>) -> String {
    segments.fold(attribute::DATA.to_owned(), |path, segment| match segment {
        Segment::Seq { index } => format!("{path}.{index}"),
        Segment::Map { key: name } | Segment::Enum { variant: name } => format!("{path}.{name}"),
        Segment::Unknown => path,
    })
}

/// Deserializes an event's type and data as a variant of an enum and its contents.
struct Typed<'event> {
    ty: &'event str,
    data: Contents<'event>,
}

/// The data of an event, and how to read it.
enum Contents<'event> {
    Text(&'event str),
    Tree(&'event Value),
    /// With the path for errors.
    Traced(&'event Value),
}

/// [`ShapeError`] as serde's errors are made: from within, it only ever meets the variant's name.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct TypedError(ShapeError);

impl TypedError {
    fn untraced(source: serde_json::Error) -> Self {
        Self(ShapeError::Data { path: attribute::DATA.to_owned(), source })
    }

    fn traced(track: Track, source: serde_json::Error) -> Self {
        let path = track.path();
        Self(ShapeError::Data { path: path_in_event(path.iter()), source })
    }
}

impl serde::de::Error for TypedError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::untraced(serde_json::Error::custom(message))
    }

    fn unknown_variant(_: &str, allowed: &'static [&'static str]) -> Self {
        Self(ShapeError::UnknownType { allowed })
    }
}

/// The error for a Rust type that isn't an enum in the default form. What serde would have expected
/// tells which form it has.
fn no_enum(expected: &dyn Expected) -> TypedError {
    let expected = expected.to_string();
    let form = [
        ("internally tagged enum", "an enum with `tag`"),
        ("adjacently tagged enum", "an enum with `tag` and `content`"),
        ("any value", "an enum with `untagged`, or has a variant with `untagged`"),
        ("struct", "a struct"),
        ("tuple struct", "a struct"),
        ("unit struct", "a struct"),
    ]
    .into_iter()
    .find(|(beginning, _)| expected.starts_with(beginning))
    .map_or("not an enum, or one in another form", |(_, form)| form);
    TypedError(ShapeError::NoEnum { form })
}

impl<'de> Deserializer<'de> for Typed<'de> {
    type Error = TypedError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypedError> {
        Err(no_enum(&visitor))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TypedError> {
        Err(no_enum(&visitor))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, TypedError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypedError> {
        visitor.visit_some(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TypedError> {
        visitor.visit_enum(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

impl<'de> EnumAccess<'de> for Typed<'de> {
    type Error = TypedError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Self), TypedError> {
        let variant = seed.deserialize(StrDeserializer::new(self.ty))?;
        Ok((variant, self))
    }
}

impl<'de> VariantAccess<'de> for Typed<'de> {
    type Error = TypedError;

    fn unit_variant(self) -> Result<(), TypedError> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<T::Value, TypedError> {
        match self.data {
            Contents::Text(text) => seed
                .deserialize(&mut serde_json::Deserializer::from_str(text))
                .map_err(TypedError::untraced),
            Contents::Tree(tree) => seed.deserialize(tree).map_err(TypedError::untraced),
            Contents::Traced(tree) => {
                let mut track = Track::new();
                seed.deserialize(serde_path_to_error::Deserializer::new(tree, &mut track))
                    .map_err(|source| TypedError::traced(track, source))
            }
        }
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, TypedError> {
        Err(TypedError(ShapeError::NoObject { variant: self.ty.to_owned() }))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TypedError> {
        match self.data {
            Contents::Text(text) => serde_json::Deserializer::from_str(text)
                .deserialize_struct("", fields, visitor)
                .map_err(TypedError::untraced),
            Contents::Tree(tree) => {
                tree.deserialize_struct("", fields, visitor).map_err(TypedError::untraced)
            }
            Contents::Traced(tree) => {
                let mut track = Track::new();
                serde_path_to_error::Deserializer::new(tree, &mut track)
                    .deserialize_struct("", fields, visitor)
                    .map_err(|source| TypedError::traced(track, source))
            }
        }
    }
}
