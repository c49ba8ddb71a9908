//! Events as a type of the team's own: any serde enum, to and from an event's `type` and `data`.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, EnumAccess, VariantAccess, Visitor};
use serde::{Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::domain::upcaster::{self, Upcaster};
use crate::event::Event;
use crate::event::candidate::EventCandidate;

/// The events of a domain as a serde enum: the names of its variants are the CloudEvents types, what
/// a variant holds is the data.
///
/// The enum is in serde's default form (externally tagged). A variant has named fields, or one
/// unnamed field of a struct, or none; `#[serde(rename = "…")]` names the type. How types are met
/// that are no variant is said explicitly; [`UPCASTERS`](Self::UPCASTERS) lift old shapes.
///
/// [`EventCandidate::typed`] and [`Event::typed`] convert, so does a [`Repository`].
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
/// Its message names the event and holds nothing of its data; the [`source`](std::error::Error::source)
/// of a [`ShapeError::Data`] may quote a value.
///
/// ```
/// # use eventdb::UnreadableEvent;
/// fn report(error: &UnreadableEvent) {
///     eprintln!("{} needs an upcaster? {error}", error.ty);
/// }
/// ```
#[derive(Debug, thiserror::Error)]
#[error("the event `{id}` of `{subject}`, type `{ty}`, can't be read: {reason}")]
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
    #[source]
    pub reason: ShapeError,
}

/// A domain event that can't be written.
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
///     "the domain event can't be written: the variant `book.renamed` holds no object; allowed \
///      are named fields, one struct, or nothing"
/// );
/// ```
#[derive(Debug, thiserror::Error)]
#[error("the domain event can't be written: {0}")]
pub struct UnwritableEvent(#[source] pub ShapeError);

/// How an event and a [`DomainEvent`] don't fit each other.
///
/// ```
/// # use eventdb::ShapeError;
/// let error = ShapeError::UnknownType { allowed: &["book.borrowed", "book.returned"] };
/// assert_eq!(
///     error.to_string(),
///     "the type is unknown; allowed are `book.borrowed`, `book.returned`"
/// );
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum ShapeError {
    /// The type is no variant, and [`UnknownTypes::Reject`] was chosen.
    UnknownType {
        /// The types of the variants.
        allowed: &'static [&'static str],
    },
    /// The data doesn't have the shape of its variant.
    Data(serde_json::Error),
    /// What a variant holds is no JSON object.
    NoObject {
        /// The variant.
        variant: String,
    },
    /// The type isn't an enum in serde's default form.
    NoEnum,
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
                formatter.write_str("the type is unknown; allowed are ")?;
                for (index, ty) in allowed.iter().enumerate() {
                    write!(formatter, "{}`{ty}`", if index == 0 { "" } else { ", " })?;
                }
                Ok(())
            }
            Self::Data(_) => formatter.write_str("its data doesn't have the shape of its type"),
            Self::NoObject { variant } => write!(
                formatter,
                "the variant `{variant}` holds no object; allowed are named fields, one struct, \
                 or nothing"
            ),
            Self::NoEnum => formatter.write_str(
                "the Rust type is no enum in serde's default form, without `tag` and `untagged`",
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
            Self::Data(source) => Some(source),
            _ => None,
        }
    }
}

impl EventCandidate {
    /// A candidate of a typed event: the variant's name becomes the type, what it holds the data.
    ///
    /// # Errors
    /// [`UnwritableEvent`] when the value can't be serialized or what it holds is no object.
    ///
    /// ```
    /// # use eventdb::{DomainEvent, EventCandidate, UnknownTypes};
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # enum BookEvent { #[serde(rename = "book.returned")] Returned }
    /// # impl DomainEvent for BookEvent { const UNKNOWN_TYPES: UnknownTypes = UnknownTypes::Reject; }
    /// let candidate =
    ///     EventCandidate::typed(&BookEvent::Returned, "https://library.example.com", "book:123")?;
    /// assert_eq!(candidate.data, serde_json::json!({}));
    /// # Ok::<(), eventdb::UnwritableEvent>(())
    /// ```
    pub fn typed<E: DomainEvent>(
        event: &E,
        source: impl Into<String>,
        subject: impl Into<String>,
    ) -> Result<Self, UnwritableEvent> {
        let (ty, data) = write(event).map_err(UnwritableEvent)?;
        Ok(Self {
            extensions: std::collections::BTreeMap::new(),
            id: None,
            source: source.into(),
            ty,
            subject: subject.into(),
            data: Value::Object(data),
            datacontenttype: None,
            dataschema: event.dataschema().map(str::to_owned),
        })
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
        let read = match upcaster::lift(self, E::UPCASTERS) {
            Ok(Some(shape)) => {
                E::deserialize(Typed { ty: &shape.ty, data: &Value::Object(shape.data) })
            }
            Ok(None) => E::deserialize(Typed { ty: &self.ty, data: &self.data }),
            Err(reason) => Err(TypedError(reason)),
        };
        match (read, E::UNKNOWN_TYPES) {
            (Ok(event), _) => Ok(Some(event)),
            (Err(TypedError(ShapeError::UnknownType { .. })), UnknownTypes::Ignore) => Ok(None),
            (Err(TypedError(reason)), _) => Err(Box::new(UnreadableEvent {
                id: self.id.clone(),
                subject: self.subject.clone(),
                revision: self.revision,
                ty: self.ty.clone(),
                reason,
            })),
        }
    }
}

/// The type and the data of a domain event.
fn write<E: DomainEvent>(event: &E) -> Result<(String, Map<String, Value>), ShapeError> {
    match serde_json::to_value(event).map_err(ShapeError::Data)? {
        Value::String(variant) => Ok((variant, Map::new())),
        Value::Object(object) => {
            let mut members = object.into_iter();
            match (members.next(), members.next()) {
                (Some((variant, Value::Object(data))), None) => Ok((variant, data)),
                (Some((variant, _)), None) => Err(ShapeError::NoObject { variant }),
                _ => Err(ShapeError::NoEnum),
            }
        }
        _ => Err(ShapeError::NoEnum),
    }
}

/// An event's type and data, read as an enum's variant and what it holds.
struct Typed<'event> {
    ty: &'event str,
    data: &'event Value,
}

/// [`ShapeError`] as serde's errors are made: from within, it only ever meets the variant's name.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct TypedError(ShapeError);

impl serde::de::Error for TypedError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(ShapeError::Data(serde_json::Error::custom(message)))
    }

    fn unknown_variant(_: &str, allowed: &'static [&'static str]) -> Self {
        Self(ShapeError::UnknownType { allowed })
    }
}

impl<'de> Deserializer<'de> for Typed<'de> {
    type Error = TypedError;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, TypedError> {
        Err(TypedError(ShapeError::NoEnum))
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
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct identifier ignored_any
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
        seed.deserialize(self.data).map_err(|error| TypedError(ShapeError::Data(error)))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, TypedError> {
        Err(TypedError(ShapeError::NoObject { variant: self.ty.to_owned() }))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TypedError> {
        self.data
            .deserialize_struct("", fields, visitor)
            .map_err(|error| TypedError(ShapeError::Data(error)))
    }
}
