//! Events as a type of the team's own: any serde enum, to and from an event's `type` and `data`.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, EnumAccess, VariantAccess, Visitor};
use serde::{Deserializer, Serialize};
use serde_json::{Map, Value};
use serde_path_to_error::{Segment, Track};

use crate::domain::json;
use crate::domain::upcaster::{self, Upcaster};
use crate::event::candidate::EventCandidate;
use crate::event::path::Path;
use crate::event::{Event, decimal};
use crate::schema::attribute;

/// The events of a domain as a serde enum: the names of its variants are the CloudEvents types, what
/// a variant holds is the data.
///
/// The enum must be in serde's default form (externally tagged). A variant has named fields, or one
/// unnamed field of a struct, or none; `#[serde(rename = "…")]` names the type. The team says
/// explicitly what becomes of an event whose type isn't a variant;
/// [`UPCASTERS`](Self::UPCASTERS) lift old shapes.
///
/// [`EventCandidate::typed`] and [`Event::typed`] convert, and so does a [`Repository`]. What they
/// write has been read back before: an event that its own type couldn't read again is refused.
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
    /// What becomes of an event whose type is no variant.
    const UNKNOWN_TYPES: UnknownTypes;

    /// How events of old shapes become those of today; none, unless given.
    const UPCASTERS: &'static [Upcaster] = &[];

    /// The URI of the schema that new events state as their `dataschema`; none, unless given.
    fn dataschema(&self) -> Option<&str> {
        None
    }
}

/// What becomes of an event whose type is no variant of the [`DomainEvent`].
///
/// ```
/// # use eventdb::UnknownTypes;
/// assert_ne!(UnknownTypes::Ignore, UnknownTypes::Reject);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownTypes {
    /// It is passed over, as by a reader that needs only some types of a subject.
    Ignore,
    /// It is an error, as for a decision that must know the whole history.
    Reject,
}

/// A stored event that can't be read as a [`DomainEvent`].
///
/// Its message names the event and where the fault lies, and holds no value of its data. The
/// [`source`](std::error::Error::source) is serde's error, which may quote a value.
///
/// ```
/// # use eventdb::UnreadableEvent;
/// fn report(error: &UnreadableEvent) {
///     eprintln!("{} needs an upcaster? {error}", error.ty);
/// }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct UnreadableEvent {
    /// The event's id.
    pub id: String,
    /// Its subject.
    pub subject: String,
    /// Its revision, where it has one.
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

/// The reason is part of the message, so the source is what lies behind the reason.
impl std::error::Error for UnreadableEvent {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.reason.source()
    }
}

/// A domain event that can't be written, or couldn't be read again if it were.
///
/// Its message names the type and where the fault lies, and holds no value of its data. The
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
    /// The type that the event would have; `None` where the Rust type gives it none.
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

/// The reason is part of the message, so the source is what lies behind the reason.
impl std::error::Error for UnwritableEvent {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.reason.source()
    }
}

/// How an event and a [`DomainEvent`] don't fit each other.
///
/// A path leads from the event to the value, as in `data.lines.0.price`. Where serde buffers what
/// it reads (`flatten`, and enums inside the data with `tag` or `untagged`), the path ends at the
/// buffered value.
///
/// ```
/// # use eventdb::ShapeError;
/// let error = ShapeError::UnknownType { allowed: &["book.borrowed", "book.returned"] };
/// assert_eq!(
///     error.to_string(),
///     "the type is unknown; it must be one of `book.borrowed`, `book.returned`"
/// );
/// ```
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
        /// Where in the event.
        path: String,
        /// What serde says.
        source: serde_json::Error,
    },
    /// A value can't be written as JSON.
    Unserializable {
        /// Where in the event.
        path: String,
        /// What serde says.
        source: serde_json::Error,
    },
    /// Written as JSON the event couldn't be read again.
    NotReadBack {
        /// Where in the event.
        path: String,
        /// Whether the value becomes `null` in JSON, as NaN and the infinite numbers do.
        null: bool,
        /// What serde says.
        source: serde_json::Error,
    },
    /// Written as JSON the event would be read as another one.
    ReadAsAnother {
        /// Where in the event, the first place that differs.
        path: String,
    },
    /// What a variant holds isn't a JSON object.
    NoObject {
        /// The variant.
        variant: String,
    },
    /// The Rust type isn't an enum in serde's default form.
    NoEnum {
        /// The form that it has instead.
        form: &'static str,
    },
    /// An upcaster can't lift the event.
    Upcaster {
        /// The type or the schema that the upcaster is for.
        from: &'static str,
        /// What it said.
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
    /// A candidate of a typed event: the variant's name becomes the type, what it holds the data.
    ///
    /// The event is read back from its JSON first, with its upcasters, as every reader will read it.
    /// What is read must be written as the same JSON again, whatever the order of arrays (a set has
    /// none). So an event may lose what its serde attributes leave out or round when it is
    /// *written*; an event that its own type can't read again, or reads as something else, is
    /// refused. JSON has no NaN and no infinite numbers: they become `null`, which an `f64` can't
    /// be read from and an `Option<f64>` can.
    ///
    /// # Errors
    /// [`UnwritableEvent`] when the value can't be serialized, when what it holds isn't an object,
    /// or when it can't be read back.
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

    /// The candidate, and the event as every reader will have it.
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
            data: Value::Object(data),
            datacontenttype: None,
            dataschema,
        };
        Ok((candidate, read))
    }
}

impl Event {
    /// The event as a type of yours, after its upcasters; `None` when its type is unknown and
    /// [`UnknownTypes::Ignore`] was chosen.
    ///
    /// # Errors
    /// [`UnreadableEvent`] when the type is unknown and that is an error, when an upcaster fails,
    /// or when the data doesn't have the shape of its variant.
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
        read(&self.ty, self.dataschema.as_deref(), &self.data).map_err(|reason| {
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

/// The domain event of a type and data, after its upcasters; `None` when its type is unknown and
/// that is to be ignored.
fn read<E: DomainEvent>(
    ty: &str,
    dataschema: Option<&str>,
    data: &Value,
) -> Result<Option<E>, ShapeError> {
    let lifted = upcaster::lift(ty, dataschema, data, E::UPCASTERS)?
        .map(|shape| (shape.ty, Value::Object(shape.data)));
    let (ty, data) = lifted.as_ref().map_or((ty, data), |(ty, data)| (ty, data));
    let event = match E::deserialize(Typed { ty, data, traced: false }) {
        // Keeping track of the path takes time, so it is done only where there is something to tell.
        Err(TypedError(ShapeError::Data { .. })) => {
            E::deserialize(Typed { ty, data, traced: true })
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
        // Another form of enum may look like this. Its own fault comes first.
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

/// The event as it will be read; an error if that isn't what was written.
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
        // The same error once more, for its path.
        let source = event.serialize(traced).err().unwrap_or(source);
        let path = track.path();
        // A variant that holds a struct comes first, and is the type.
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

/// What is wrong with the form of a Rust type, as its own reader tells.
fn form_fault<E: DomainEvent>() -> Option<ShapeError> {
    match E::deserialize(Typed { ty: "", data: &Value::Null, traced: false }) {
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

/// An event's type and data, read as an enum's variant and what it holds.
struct Typed<'event> {
    ty: &'event str,
    data: &'event Value,
    /// Whether an error tells where in the data it is.
    traced: bool,
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

fn no_enum(form: &'static str) -> TypedError {
    TypedError(ShapeError::NoEnum { form })
}

impl<'de> Deserializer<'de> for Typed<'de> {
    type Error = TypedError;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, TypedError> {
        Err(no_enum("an enum with `tag` or `untagged`, or has a variant with `untagged`"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, TypedError> {
        Err(no_enum("a struct, or an enum with `tag` and `content`"))
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
        if !self.traced {
            return seed.deserialize(self.data).map_err(TypedError::untraced);
        }
        let mut track = Track::new();
        seed.deserialize(serde_path_to_error::Deserializer::new(self.data, &mut track))
            .map_err(|source| TypedError::traced(track, source))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, TypedError> {
        Err(TypedError(ShapeError::NoObject { variant: self.ty.to_owned() }))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TypedError> {
        if !self.traced {
            return self.data.deserialize_struct("", fields, visitor).map_err(TypedError::untraced);
        }
        let mut track = Track::new();
        serde_path_to_error::Deserializer::new(self.data, &mut track)
            .deserialize_struct("", fields, visitor)
            .map_err(|source| TypedError::traced(track, source))
    }
}
