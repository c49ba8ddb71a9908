//! The path to a value in a payload, for error messages. It allocates only when it is written.

use std::fmt;

/// The path from the root of a payload to a value in it, such as `data.items.0.price`.
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
    /// The path of the payload itself.
    pub(crate) fn new(root: &'path str) -> Self {
        Self { parent: None, part: Part::Name(root), depth: 1 }
    }

    /// The path of a member of this object.
    pub(crate) fn name(&'path self, name: &'path str) -> Self {
        self.child(Part::Name(name))
    }

    /// The path of an element of this array.
    pub(crate) fn index(&'path self, index: usize) -> Self {
        self.child(Part::Index(index))
    }

    fn child(&'path self, part: Part<'path>) -> Self {
        Self { parent: Some(self), part, depth: self.depth + 1 }
    }

    /// Number of levels down to this value; the root has 1.
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
