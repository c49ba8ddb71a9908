//! Upcasters: converting events of old shapes to the current ones when they are read.

use std::fmt;

use serde_json::{Map, Value};

use crate::domain::domain_event::ShapeError;

/// The type and data of an event, which an [`Upcaster`] may change.
///
/// ```
/// # use eventdb::Shape;
/// fn lift(shape: &mut Shape) -> Result<(), String> {
///     shape.ty = "book.borrowed".to_owned();
///     let user = shape.data.remove("user").ok_or("`user` is missing")?;
///     shape.data.insert("userId".to_owned(), user);
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Shape {
    /// The type.
    pub ty: String,
    /// The URI of the payload's schema, if the event has one.
    pub dataschema: Option<String>,
    /// The payload.
    pub data: Map<String, Value>,
}

/// Converts events of an old shape to a newer one whenever they are read. The table isn't changed.
///
/// Upcasters form chains: the result of one is passed to the others, whatever their order. Each is
/// used at most once per event, so a chain always ends.
///
/// ```
/// use eventdb::{DomainEvent, Event, Shape, UnknownTypes, Upcaster};
/// # use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, PartialEq, Serialize, Deserialize)]
/// enum BookEvent {
///     #[serde(rename = "book.borrowed", rename_all = "camelCase")]
///     Borrowed { user_id: String, branch: String },
/// }
///
/// impl DomainEvent for BookEvent {
///     const UNKNOWN_TYPES: UnknownTypes = UnknownTypes::Reject;
///     const UPCASTERS: &'static [Upcaster] = &[
///         Upcaster::from_type("book.lent", |shape| {
///             shape.ty = "book.borrowed".to_owned();
///             shape.dataschema = Some("https://library.example.com/borrowed/1".to_owned());
///             Ok(())
///         }),
///         Upcaster::from_dataschema("https://library.example.com/borrowed/1", |shape| {
///             shape.dataschema = Some("https://library.example.com/borrowed/2".to_owned());
///             shape.data.insert("branch".to_owned(), "main".into());
///             Ok(())
///         }),
///     ];
/// }
/// # let event: Event = serde_json::from_str(r#"{"specversion":"1.0","id":"evt-1",
/// #   "source":"https://library.example.com","type":"book.lent","subject":"book:123",
/// #   "time":"2025-01-28T14:30:00.000Z","data":{"userId":"user:456"}}"#)?;
/// assert_eq!(
///     event.typed::<BookEvent>()?,
///     Some(BookEvent::Borrowed { user_id: "user:456".into(), branch: "main".into() })
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
pub struct Upcaster {
    from: From,
    lift: Lift,
}

/// Changes a shape, or says why it can't.
type Lift = fn(&mut Shape) -> Result<(), String>;

#[derive(Debug, Clone, Copy)]
enum From {
    Type(&'static str),
    Dataschema(&'static str),
    Shape(&'static str, Option<&'static str>),
}

impl Upcaster {
    /// For events of this type, whatever `dataschema` they state.
    ///
    /// An event of today's that has the same type is lifted too. Where only the old shape is meant,
    /// [`from_shape`](Self::from_shape) tells them apart.
    ///
    /// ```
    /// use eventdb::Upcaster;
    ///
    /// const FROM_LENT: Upcaster = Upcaster::from_type("book.lent", |shape| {
    ///     shape.ty = "book.borrowed".to_owned();
    ///     Ok(())
    /// });
    /// ```
    pub const fn from_type(ty: &'static str, lift: fn(&mut Shape) -> Result<(), String>) -> Self {
        Self { from: From::Type(ty), lift }
    }

    /// For events that state this `dataschema`, whatever their type.
    ///
    /// ```
    /// use eventdb::Upcaster;
    ///
    /// const FROM_1: Upcaster =
    ///     Upcaster::from_dataschema("https://library.example.com/borrowed/1", |shape| {
    ///         shape.dataschema = Some("https://library.example.com/borrowed/2".to_owned());
    ///         shape.data.insert("branch".to_owned(), "main".into());
    ///         Ok(())
    ///     });
    /// ```
    pub const fn from_dataschema(
        uri: &'static str,
        lift: fn(&mut Shape) -> Result<(), String>,
    ) -> Self {
        Self { from: From::Dataschema(uri), lift }
    }

    /// For events of exactly one shape: this type, and this `dataschema` or, with `None`, none.
    ///
    /// So the first version of an event, which stated no schema, is lifted when a second one has
    /// the same type and states its schema.
    ///
    /// ```
    /// use eventdb::Upcaster;
    ///
    /// const FROM_FIRST: Upcaster = Upcaster::from_shape("book.borrowed", None, |shape| {
    ///     shape.dataschema = Some("https://library.example.com/borrowed/2".to_owned());
    ///     shape.data.insert("branch".to_owned(), "main".into());
    ///     Ok(())
    /// });
    /// ```
    pub const fn from_shape(
        ty: &'static str,
        dataschema: Option<&'static str>,
        lift: fn(&mut Shape) -> Result<(), String>,
    ) -> Self {
        Self { from: From::Shape(ty, dataschema), lift }
    }

    fn is_for(&self, ty: &str, dataschema: Option<&str>) -> bool {
        match self.from {
            From::Type(from) => from == ty,
            From::Dataschema(from) => Some(from) == dataschema,
            From::Shape(from, from_schema) => from == ty && from_schema == dataschema,
        }
    }

    fn name(&self) -> &'static str {
        match self.from {
            From::Type(name) | From::Dataschema(name) => name,
            From::Shape(ty, dataschema) => dataschema.unwrap_or(ty),
        }
    }
}

impl fmt::Debug for Upcaster {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Upcaster").field(&self.from).finish()
    }
}

/// Whether an upcaster is for an event.
pub(crate) fn is_needed(ty: &str, dataschema: Option<&str>, upcasters: &[Upcaster]) -> bool {
    upcasters.iter().any(|upcaster| upcaster.is_for(ty, dataschema))
}

/// The newest shape of an event; `None` if no upcaster is for it.
pub(crate) fn lift(
    ty: &str,
    dataschema: Option<&str>,
    data: &Value,
    upcasters: &[Upcaster],
) -> Result<Option<Shape>, ShapeError> {
    if !is_needed(ty, dataschema, upcasters) {
        return Ok(None);
    }
    let Value::Object(data) = data else {
        return Err(ShapeError::NoObject { variant: ty.to_owned() });
    };
    let mut shape =
        Shape { ty: ty.to_owned(), dataschema: dataschema.map(str::to_owned), data: data.clone() };
    let mut unused: Vec<&Upcaster> = upcasters.iter().collect();
    while let Some(next) =
        unused.iter().position(|upcaster| upcaster.is_for(&shape.ty, shape.dataschema.as_deref()))
    {
        let upcaster = unused.remove(next);
        (upcaster.lift)(&mut shape)
            .map_err(|reason| ShapeError::Upcaster { from: upcaster.name(), reason })?;
    }
    Ok(Some(shape))
}
