//! Events below their causes.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::verbs::trace::Traced;

/// A cause that isn't shown, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Absent {
    pub(super) id: String,
    pub(super) reason: String,
}

/// A line of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node<'tree> {
    /// An event. If its causes are a cycle, it is repeated where the cycle closes.
    Event { event: &'tree Traced, is_repeated: bool },
    /// A cause that isn't an event of the store, or wasn't read.
    Absent { id: &'tree str, reason: &'tree str },
}

/// Events, each once, and what each caused.
#[derive(Debug)]
pub(super) struct Tree {
    /// In the order of time.
    events: Vec<Traced>,
    absent: Option<Absent>,
}

impl Tree {
    pub(super) fn new(
        asked: Traced,
        causes: Vec<Traced>,
        effects: Vec<Traced>,
        absent: Option<Absent>,
    ) -> Self {
        let mut seen = HashSet::new();
        let all = std::iter::once(asked).chain(causes).chain(effects);
        let mut events: Vec<Traced> =
            all.filter(|event| seen.insert((event.source.clone(), event.id.clone()))).collect();
        events.sort_by(|one, other| {
            let place = |event: &Traced| (event.time, event.subject.clone(), event.revision);
            place(one).cmp(&place(other))
        });
        Self { events, absent }
    }

    /// How many events there are.
    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// The lines of the tree, with their depths.
    pub(super) fn nodes(&self) -> Vec<(usize, Node<'_>)> {
        let ids: HashSet<&str> = self.events.iter().map(|event| event.id.as_str()).collect();
        let mut effects: HashMap<&str, Vec<&Traced>> = HashMap::new();
        // The causes that aren't there, each with what it caused.
        let mut roots: Vec<Node<'_>> = Vec::new();
        let mut orphans: BTreeMap<&str, Vec<&Traced>> = BTreeMap::new();
        for event in &self.events {
            match event.causation.as_deref() {
                None => roots.push(Node::Event { event, is_repeated: false }),
                Some(cause) if ids.contains(cause) => effects.entry(cause).or_default().push(event),
                Some(cause) => {
                    if !orphans.contains_key(cause) {
                        roots.push(Node::Absent { id: cause, reason: self.reason(cause) });
                    }
                    orphans.entry(cause).or_default().push(event);
                }
            }
        }
        effects.extend(orphans);
        let mut nodes = Vec::new();
        let mut shown: HashSet<(&str, &str)> = HashSet::new();
        // Deep trees don't need a deep stack.
        let mut open: Vec<(usize, Node<'_>)> =
            roots.into_iter().rev().map(|root| (0, root)).collect();
        let mut rest = self.events.iter();
        loop {
            while let Some((depth, node)) = open.pop() {
                let (id, is_new) = match &node {
                    Node::Absent { id, .. } => (*id, true),
                    Node::Event { event, .. } => {
                        (event.id.as_str(), shown.insert((&event.source, &event.id)))
                    }
                };
                let node = match node {
                    Node::Event { event, .. } => Node::Event { event, is_repeated: !is_new },
                    absent @ Node::Absent { .. } => absent,
                };
                nodes.push((depth, node));
                if is_new {
                    let below = effects.get(id).into_iter().flatten().rev();
                    open.extend(
                        below.map(|event| (depth + 1, Node::Event { event, is_repeated: false })),
                    );
                }
            }
            // What is only below a cycle has no root.
            let left =
                rest.find(|event| !shown.contains(&(event.source.as_str(), event.id.as_str())));
            match left {
                Some(event) => open.push((0, Node::Event { event, is_repeated: false })),
                None => return nodes,
            }
        }
    }

    fn reason(&self, id: &str) -> &str {
        let absent = self.absent.as_ref().filter(|absent| absent.id == id);
        absent.map_or("not an event of this store", |absent| &absent.reason)
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::{Node, Traced, Tree};

    fn event(id: &str, causation: Option<&str>, seconds: i64) -> Traced {
        Traced {
            id: id.to_owned(),
            source: "https://library.example.com".to_owned(),
            subject: "book:1".to_owned(),
            revision: Some(1),
            ty: "book.borrowed".to_owned(),
            time: DateTime::from_timestamp(seconds, 0).expect("a time"),
            causation: causation.map(str::to_owned),
            correlation: None,
            trace: None,
        }
    }

    fn drawn(tree: &Tree) -> Vec<String> {
        let name = |node: &Node<'_>| match node {
            Node::Event { event, is_repeated: false } => event.id.clone(),
            Node::Event { event, is_repeated: true } => format!("{} again", event.id),
            Node::Absent { id, .. } => format!("({id})"),
        };
        tree.nodes().iter().map(|(depth, node)| format!("{depth} {}", name(node))).collect()
    }

    #[test]
    fn effects_are_below_their_causes_in_the_order_of_time() {
        let effects = vec![event("d", Some("b"), 4), event("c", Some("a"), 3), event("x", None, 9)];
        let tree = Tree::new(event("b", Some("a"), 2), vec![event("a", None, 1)], effects, None);
        assert_eq!(drawn(&tree), ["0 a", "1 b", "2 d", "1 c", "0 x"]);
    }

    #[test]
    fn a_cause_that_is_not_there_is_named_once() {
        let effects = vec![event("c", Some("command-1"), 3)];
        let tree = Tree::new(event("b", Some("command-1"), 2), Vec::new(), effects, None);
        assert_eq!(drawn(&tree), ["0 (command-1)", "1 b", "1 c"]);
    }

    #[test]
    fn cycles_are_shown_and_end() {
        let tree =
            Tree::new(event("a", Some("b"), 1), vec![event("b", Some("a"), 2)], Vec::new(), None);
        assert_eq!(drawn(&tree), ["0 a", "1 b", "2 a again"]);
        let tree = Tree::new(event("a", Some("a"), 1), Vec::new(), Vec::new(), None);
        assert_eq!(drawn(&tree), ["0 a", "1 a again"]);
    }

    #[test]
    fn a_long_chain_does_not_need_a_deep_stack() {
        let name = |number: i64| format!("e{number}");
        let chain =
            (1..100_000).map(|number| event(&name(number), Some(&name(number - 1)), number));
        let tree = Tree::new(event("e0", None, 0), Vec::new(), chain.collect(), None);
        assert_eq!(tree.nodes().last().map(|(depth, _)| *depth), Some(99_999));
    }
}
