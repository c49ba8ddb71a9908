//! Where in a payload we are, for messages: it costs nothing until one is written.

use std::fmt;

/// The way from the root of a payload to a value in it, as `data.items.0.price`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Path<'path> {
    parent: Option<&'path Path<'path>>,
    part: Part<'path>,
    depth: usize,
}

#[derive(Debug, Clone, Copy)]
enum Part<'path> {
    Name(&'path str),
    Index(usize),
}

impl<'path> Path<'path> {
    /// The payload itself.
    pub(crate) fn new(root: &'path str) -> Self {
        Self { parent: None, part: Part::Name(root), depth: 1 }
    }

    /// The member of an object.
    pub(crate) fn name(&'path self, name: &'path str) -> Self {
        self.child(Part::Name(name))
    }

    /// The element of an array.
    pub(crate) fn index(&'path self, index: usize) -> Self {
        self.child(Part::Index(index))
    }

    fn child(&'path self, part: Part<'path>) -> Self {
        Self { parent: Some(self), part, depth: self.depth + 1 }
    }

    /// Levels down to here, the root being the first.
    pub(crate) fn depth(&self) -> usize {
        self.depth
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            write!(formatter, "{parent}.")?;
        }
        match self.part {
            Part::Name(name) => formatter.write_str(name),
            Part::Index(index) => write!(formatter, "{index}"),
        }
    }
}
